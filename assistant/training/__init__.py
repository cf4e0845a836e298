"""One loop and one small task per thing trained. `python -m assistant.training --help`."""
