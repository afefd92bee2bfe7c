# Every target is one line of scripts/run.py, which needs nothing but Python 3.10 or newer.
PYTHON ?= python3

.PHONY: demo test check lint format types validate

demo:    ## animate three bundled stills, into output/
	$(PYTHON) scripts/run.py demo

test:    ## run the tests
	$(PYTHON) scripts/run.py test

check:   ## what CI runs: lint, format, types, tests
	$(PYTHON) scripts/run.py check

lint format types validate:
	$(PYTHON) scripts/run.py $@
