"""The one kind of error that is the user's to mend."""


class InputError(Exception):
    """Say in one line where something is wrong, what was found, what is allowed and how to mend it.

    Everything else that is raised is a fault of this project and keeps its traceback.
    """
