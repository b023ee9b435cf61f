"""Builds a disk, a kernel and an initrd for each recipe, once, without root."""

import hashlib
import lzma
import os
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.access import SUDO_PASSWORD
from tests.lab.cpio import File, archive
from tests.lab.errors import LabError, ReleaseError
from tests.lab.flavours import Recipe
from tests.lab.places import cache
from tests.lab.progress import say, step

INIT = Path(__file__).with_name("init")

DISK_BLOCKS = 524_288
"""Of 4096 bytes: 2 GiB, of which the files use a sixth."""

MODULES = ("virtio_pci", "virtio_blk", "virtio_net")
"""What a kernel needs to see its disk and its cards, of which Debian's has some built in."""

IDLE_UNITS = """\
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
    systemd-tmpfiles-clean.timer logrotate.timer man-db.timer e2scrub_reap.service
    systemd-pstore.service getty@tty1.service getty-static.service serial-getty@ttyS0.service
    systemd-timesyncd.service systemd-logind.service systemd-networkd-wait-online.service
    NetworkManager-wait-online.service systemd-binfmt.service systemd-random-seed.service
    systemd-update-utmp.service systemd-update-utmp-runlevel.service
    systemd-journal-flush.service systemd-sysusers.service systemd-user-sessions.service
    systemd-modules-load.service systemd-remount-fs.service systemd-initctl.socket
    systemd-pcrphase.service systemd-pcrphase-sysinit.service systemd-ask-password-console.path
    systemd-ask-password-wall.path kmod-static-nodes.service modprobe@configfs.service
    modprobe@dm_mod.service modprobe@drm.service modprobe@efi_pstore.service
    modprobe@fuse.service modprobe@loop.service dev-hugepages.mount dev-mqueue.mount
    sys-fs-fuse-connections.mount sys-kernel-config.mount sys-kernel-debug.mount
    sys-kernel-tracing.mount proc-sys-fs-binfmt_misc.automount
    ldconfig.service systemd-journal-catalog-update.service systemd-update-done.service
    systemd-udev-load-credentials.service systemd-tmpfiles-setup-dev-early.service
"""
"""What would cost a booting or idle machine time and proves nothing here."""

DROP_INS = {
    # Of a machine's devices, udev hears at boot of those that matter here: 10 of 270.
    "systemd-udev-trigger": """\
[Service]
ExecStart=
ExecStart=-udevadm trigger --action=add --subsystem-match=net --subsystem-match=block
""",
    # Without a test run of sshd before each start of it.
    "ssh": "[Service]\nExecStartPre=\n",
}
"""What else would, by the service whose unit it changes."""
_DROP_INS = "\n".join(
    f"drop_in {service} {shlex.quote(text)}" for service, text in DROP_INS.items()
)

UNREAD_PATHS = ("doc", "man", "locale", "info", "lintian", "bug")
READ_PATHS = ("locale/locale.alias", "locale/de/*")
"""Of those all the same: a user of the machines speaks German."""

SETUP = f"""\
set -e
add() {{ chroot "$root" useradd --create-home --password '*' "$@"; }}
drop_in() {{
    mkdir -p "$root/etc/systemd/system/$1.service.d"
    printf '%s' "$2" >"$root/etc/systemd/system/$1.service.d/lab.conf"
}}
root=$1
add --shell /bin/bash admin
add --shell /bin/tcsh shelly
add --shell /bin/bash greta
add --shell /bin/bash careful
echo careful:{SUDO_PASSWORD} | chroot "$root" chpasswd
chroot "$root" localedef -i de_DE -f UTF-8 de_DE.UTF-8
chroot "$root" systemctl --quiet mask {" ".join(IDLE_UNITS.split())}
mkdir "$root"/etc/systemd/system-generators
# Netplan's generator is another matter.
for generator in "$root"/usr/lib/systemd/system-generators/systemd-*; do
    ln -s /dev/null "$root/etc/systemd/system-generators/${{generator##*/}}"
done
{_DROP_INS}
rm -f "$root"/etc/ssh/ssh_host_*
"""


@dataclass(frozen=True)
class Image:
    """What every machine of one recipe starts from."""

    folder: Path

    @property
    def disk(self) -> Path:
        """The root file system, in qcow2 format; machines write to overlays of it."""
        return self.folder / "root.qcow2"

    @property
    def kernel(self) -> Path:
        """Debian's cloud kernel."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """An archive of busybox, a few modules and `init`."""
        return self.folder / "initrd"


def image(recipe: Recipe) -> Image:
    """The image of a recipe, whose folder's name changes with all that it is built from."""
    parts = [INIT.read_text(), MODULES, *_commands(recipe, Path())]
    key = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
    return Image(cache() / "images" / f"{recipe.name}-{key}")


def build_images(recipes: Iterable[Recipe], kept: Iterable[Recipe]) -> None:
    """Build what is missing of some, and remove what nothing kept is built from any more."""
    wanted = {image(recipe).folder: recipe for recipe in recipes}
    missing = [recipe for folder, recipe in wanted.items() if not folder.exists()]
    if missing:
        _require("mmdebstrap", "genext2fs", "tune2fs", "e2fsck", "qemu-img")
        with ThreadPoolExecutor() as pool:
            list(pool.map(_build, missing))
    folder = cache() / "images"
    stays = {*wanted, *(image(recipe).folder for recipe in kept)}
    for other in folder.iterdir():
        if other not in stays:
            shutil.rmtree(other)


def _require(*programs: str) -> None:
    absent = [program for program in programs if not shutil.which(program)]
    if absent:
        raise LabError(
            f"The lab needs {', '.join(absent)}: install the Debian packages "
            "mmdebstrap, genext2fs, e2fsprogs, qemu-utils and qemu-system-x86."
        )


def _build(recipe: Recipe) -> None:
    with step(f"Building the image {recipe.name}"), _draft(image(recipe).folder) as draft:
        install, *rest = _commands(recipe, draft)
        log = draft / "build.log"
        _install(install, recipe.suite, log)
        for command in rest:
            _run(command, log)
        with tarfile.open(draft / "root.tar") as tar:
            _extract_boot_files(tar, Image(draft))
        (draft / "root.tar").unlink()
        (draft / "root.img").unlink()


@contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """A folder that takes its name only when it is complete."""
    draft = folder.with_name(f"{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    yield draft
    draft.rename(folder)


def _commands(recipe: Recipe, folder: Path) -> list[list[str]]:
    """The commands that turn packages into a disk."""
    tar, raw, disk = (str(folder / name) for name in ("root.tar", "root.img", "root.qcow2"))
    packages = ",".join(recipe.all_packages)
    return [
        [
            *("mmdebstrap", "--variant=minbase", "--format=tar", f"--include={packages}"),
            '--aptopt=APT::Install-Recommends "false"',
            *(f"--dpkgopt=path-exclude=/usr/share/{path}/*" for path in UNREAD_PATHS),
            *(f"--dpkgopt=path-include=/usr/share/{path}" for path in READ_PATHS),
            *(f"--customize-hook={SETUP}", recipe.suite, tar),
        ],
        ["genext2fs", "-B", "4096", "-b", str(DISK_BLOCKS), "-N", "65536", "-a", tar, raw],
        ["tune2fs", "-j", "-O", "extents,dir_index,uninit_bg,filetype", raw],
        ["e2fsck", "-fy", raw],
        ["qemu-img", "convert", "-O", "qcow2", raw, disk],
    ]


def _install(command: list[str], suite: str, log: Path) -> None:
    """Run mmdebstrap. Raises ReleaseError where the suite can't be had."""
    try:
        _run(command, log)
    except ReleaseError:
        if "is expired" not in log.read_text(errors="replace"):
            raise
        say(f"The index of {suite} has expired; it is used all the same.")
        _run([*command[:1], "--aptopt=Acquire::Check-Valid-Until false", *command[1:]], log)


def _run(command: list[str], log: Path) -> None:
    # The machines boot with an initrd of their own; Debian's takes a third of the time to build.
    environment = {**os.environ, "INITRD": "No"}
    with log.open("ab") as output:
        done = subprocess.run(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, check=False
        )
    # e2fsck says 1 for "errors corrected": the new features, which it completes.
    if done.returncode > (1 if command[0] == "e2fsck" else 0):
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        kind = ReleaseError if "apt-get update --error-on=any" in tail else LabError
        raise kind(f"{command[0]} failed; the end of {log}:\n{tail}")


def _extract_boot_files(tar: tarfile.TarFile, image: Image) -> None:
    names = tar.getnames()
    modules = next(name for name in names if name.endswith("/modules.dep")).rpartition("/")[0]
    version = modules.rpartition("/")[2]
    image.kernel.write_bytes(_content(tar, f"./boot/vmlinuz-{version}"))
    files = {
        "init": File(INIT.read_bytes(), 0o755),
        "bin/busybox": File(_content(tar, "./usr/bin/busybox"), 0o755),
    }
    dependencies, built_in = (
        _content(tar, f"{modules}/modules.{kind}").decode() for kind in ("dep", "builtin")
    )
    present = {_module(path) for path in built_in.splitlines()}
    paths = _in_order(dependencies, [module for module in MODULES if module not in present])
    for path in paths:
        files[f"modules/{_module(path)}"] = File(_module_content(tar, f"{modules}/{path}"))
    order = "".join(f"{_module(path)}\n" for path in paths)
    image.initrd.write_bytes(archive({**files, "modules/order": File.of(order)}))


def _in_order(dependencies: str, modules: Iterable[str]) -> list[str]:
    """The files of modules in the order in which they can be loaded."""
    needs = {
        path: needed.split()
        for path, _, needed in (line.partition(":") for line in dependencies.splitlines())
    }
    ordered: list[str] = []
    for module in modules:
        path = next(path for path in needs if _module(path) == module)
        # modules.dep names the nearest dependency first.
        for each in [*reversed(needs[path]), path]:
            if each not in ordered:
                ordered.append(each)
    return ordered


def _module(path: str) -> str:
    return path.rpartition("/")[2].partition(".")[0].replace("-", "_")


def _module_content(tar: tarfile.TarFile, path: str) -> bytes:
    content = _content(tar, path)
    return lzma.decompress(content) if path.endswith(".xz") else content


def _content(tar: tarfile.TarFile, path: str) -> bytes:
    file = tar.extractfile(path)
    assert file is not None, path
    return file.read()
