# `make setup` prepares, `make check` is quick, `make test` runs everything but what `make campaign`
# does, `make test-quick` a few scenarios, `make demo` shows it.
VENV := .venv
PYTHON := $(VENV)/bin/python
LAB_PACKAGES := qemu-system-x86_64=qemu-system-x86 qemu-img=qemu-utils mmdebstrap=mmdebstrap \
	genext2fs=genext2fs tune2fs=e2fsprogs
# With which unit tests ask the kernel, in network namespaces of their own.
CHECK_PACKAGES := nft=nftables iptables-nft=iptables ip=iproute2 unshare=util-linux perl=perl-base

.PHONY: setup check test test-quick campaign bench demo lab lab-packages check-packages

setup: $(VENV)/installed

$(VENV)/installed: requirements.txt requirements-dev.txt
	.ci/packages python3=python3
	python3 -c 'import ensurepip, venv' 2>/dev/null || .ci/packages ensurepip=python3-venv
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

lab-packages:
	.ci/packages $(LAB_PACKAGES)

check-packages:
	.ci/packages $(CHECK_PACKAGES)

check: setup check-packages
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(PYTHON) -m pytest -q -n auto -m "not lab"

# One lab after the other would leave a quarter of two cores idle.
test: check lab-packages
	$(PYTHON) -m pytest -m "lab and not campaign" -n 2 --dist loadgroup --durations=25

campaign: setup lab-packages
	$(PYTHON) -m pytest -m campaign -n 2 --dist loadgroup

# As root, in the lab and in network namespaces of its own.
bench: setup check-packages lab-packages
	.ci/packages iperf3=iperf3 ethtool=ethtool
	.ci/packages sshd=openssh-server
	$(PYTHON) -m tests.bench.wide
	$(PYTHON) -m tests.bench.tunnels
	$(PYTHON) -m tests.bench.filter

test-quick: check lab-packages
	$(PYTHON) -m pytest -m quick

lab: setup lab-packages
	$(PYTHON) -m tests.lab up

demo: setup lab-packages
	$(PYTHON) -m tests.lab up
	$(PYTHON) -m tests.lab reset
	$(VENV)/bin/pyinfra inventories/lab.py deploy.py --dry --diff
	$(VENV)/bin/pyinfra -y inventories/lab.py deploy.py
	$(PYTHON) -m tests.demo
