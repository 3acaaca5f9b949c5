"""Options of the slower checks."""


def pytest_addoption(parser):
    parser.addoption("--every-change", action="store_true", help="kill the stages before each change they make on disk")
