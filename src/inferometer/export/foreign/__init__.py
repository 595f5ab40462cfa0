"""Results that other tools made, read as runs. One file per format; only ``files`` opens one."""
