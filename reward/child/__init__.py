"""Child processes that score items, and can be killed.

A child is a fresh interpreter in a folder of its own. It takes one item at a time; when the item
exceeds a limit, the child and everything it started are killed, that one score is missing, and
another child takes the next item.

**What is contained.** Time, processor time, memory, the size of files, the number of processes and
the amount of output are bounded. The environment has only what an interpreter needs, so it holds no
secret of the service. If the kernel allows it, the child has no network and sees no other process
(namespaces), may write only into its folder, may not connect by TCP, and can neither signal nor
inspect a process outside (Landlock). Anything the kernel refused is listed in `ChildPool.notes`
and, once, in the log.

**What is not.** This is no sandbox for hostile code. The child runs as the user of the service: it
can read every file that the service can read, fill the disk of its temporary folder with many
files, keep its processors busy up to the limits, reach Unix sockets that have a path, and attack
the kernel. It can also report any score it likes. A service that runs code of people it does not
trust needs a container or a virtual machine around it.
"""
