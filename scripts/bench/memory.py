"""What processes hold, for the benches beside this."""
from pathlib import Path


def proportional(pid):
    """KiB; pages that several processes share are divided among them. 0 of one that is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
