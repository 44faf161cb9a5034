"""Child processes that score items, and can be killed.

A child is a fresh interpreter in a folder of its own. It takes one item at a time; when the item
runs into a limit, the child and all that it started is killed, that one score is missing, and
another child takes the next item.

**What is contained.** Time, processor time, memory, the size of files, the number of processes and
the amount of output are bounded. The environment is empty but for what an interpreter needs, so it
holds no secret of the service. Where the kernel allows it, the child has no network and sees no
other process (namespaces), and may write into its folder only, connect to nothing by TCP, and
neither signal nor inspect a process outside (Landlock). What the kernel refused stands in
`ChildPool.notes` and, once, in the log.

**What is not.** This is no sandbox for hostile code. The child runs as the user of the service: it
can read every file that the service can read, fill the disk of its temporary folder with many
files, keep its processors busy up to the limits, reach Unix sockets that have a path, and attack
the kernel. It can also say what it likes about its own score. A service that runs code of people it
does not trust needs a container or a virtual machine around it.
"""
