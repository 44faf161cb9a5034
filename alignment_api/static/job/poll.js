// Ask again after the job reports something, at most every two seconds.

const PAUSE_MS = 2000;

/** Call `take` now and after reports, or `onError` on failure; `stop()` ends polling. */
export function poll(take, history, onError) {
  let timer = null;
  let [isRunning, isWanted, isStopped] = [false, false, false];
  const run = async () => {
    timer = null;
    [isRunning, isWanted] = [true, false];
    try {
      await take();
    } catch (error) {
      if (!isStopped) onError(error);
    } finally {
      isRunning = false;
      if (isWanted && !isStopped) schedule();
    }
  };
  const schedule = () => {
    isWanted = true;
    if (!isRunning) timer ??= setTimeout(run, PAUSE_MS);
  };
  const stopListening = history.onChange(schedule);
  run();
  return {
    stop: () => {
      isStopped = true;
      clearTimeout(timer);
      stopListening();
    },
  };
}
