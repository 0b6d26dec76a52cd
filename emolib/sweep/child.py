"""The process that executes one notebook, and nothing else.

It reads what to do as one line of JSON, and lives as long as its standard input stays open: when whoever
started it dies, by whatever signal, it ends at once, and its kernel with it.
"""

import json
import os
import sys
import threading

#: The prefix of its last line of output.
ANSWER = "emolib-notebook: "
#: How often a kernel is started. Jupyter picks a kernel's ports before the kernel binds them, so of two that
#: start at the same moment one may die, before it has executed anything.
STARTS = 3


def main() -> None:
    """Execute the notebook that standard input names; print how it ended as one line of JSON."""
    task = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    error = execute(**task)
    print(ANSWER + json.dumps(error), flush=True)


def execute(notebook: str, copy: str, parameters: dict, cwd: str, starts: int = STARTS) -> str:
    """Execute a notebook into a copy; return its error in one line, empty where there is none."""
    import papermill
    from nbclient.exceptions import DeadKernelError

    try:
        papermill.execute_notebook(
            notebook,
            copy,
            parameters=parameters,
            kernel_name="python3",
            language="python",
            cwd=cwd,
            progress_bar=False,
            extra_arguments=["--log-level=ERROR"],  # else each kernel warns that it runs over TCP
        )
    except papermill.PapermillExecutionError as failure:
        return _one_line(failure.ename, failure.evalue)
    except DeadKernelError:
        return "DeadKernelError: the kernel died, as it does when memory runs out"
    except RuntimeError as failure:  # the kernel did not start
        if starts > 1:
            return execute(notebook, copy, parameters, cwd, starts - 1)
        return _one_line(type(failure).__name__, str(failure))
    except (OSError, ValueError) as failure:
        return _one_line(type(failure).__name__, str(failure))
    return ""


def _one_line(name: str, message: str) -> str:
    return " ".join([f"{name}:", *message.splitlines()[:1]])


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
