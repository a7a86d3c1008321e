package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// slowDisk lets this process, and so the servers that it starts, write to the disk of a folder so many times a second at most, as
// disks of a cloud do: a fast local disk says little of what a sync for each message costs on such a one. It needs root, and returns
// what takes the bound away.
func slowDisk(dir string, iops int) (release func(), err error) {
	device, err := diskOf(dir)
	if err != nil {
		return nil, err
	}
	const unified, v1 = "/sys/fs/cgroup", "/sys/fs/cgroup/blkio"
	root, file, line := unified, "io.max", fmt.Sprintf("%s wiops=%d", device, iops)
	if _, err := os.Stat(v1); err == nil {
		root, file, line = v1, "blkio.throttle.write_iops_device", fmt.Sprintf("%s %d", device, iops)
	} else if err := os.WriteFile(filepath.Join(unified, "cgroup.subtree_control"), []byte("+io"), 0); err != nil {
		return nil, fmt.Errorf("bounding writes: %w", err)
	}
	group := filepath.Join(root, "bench-bus-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		return nil, fmt.Errorf("bounding writes: %w", err)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(group, file), []byte(line), 0), moveTo(group, strconv.Itoa(os.Getpid()))); err != nil {
		return nil, errors.Join(fmt.Errorf("bounding writes: %w", err), os.Remove(group))
	}
	return func() {
		// Not this process alone: Erlang's port mapper, which RabbitMQ leaves behind, is in there as well.
		all, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
		for _, pid := range strings.Fields(string(all)) {
			err = errors.Join(err, moveTo(root, pid))
		}
		if err := errors.Join(err, os.Remove(group)); err != nil {
			fmt.Fprintln(os.Stderr, "bench/bus: writes stay bounded:", err)
		}
	}, nil
}

func moveTo(group, pid string) error {
	return os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(pid), 0)
}

// diskOf is the number of the whole disk that a folder is on, as the kernel writes it.
func diskOf(dir string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return "", fmt.Errorf("finding the disk of %s: %w", dir, err)
	}
	number := uint64(st.Dev)
	device := fmt.Sprintf("%d:%d", unix.Major(number), unix.Minor(number))
	of, err := filepath.EvalSymlinks("/sys/dev/block/" + device)
	if err != nil {
		return "", fmt.Errorf("%s is not on a disk of its own: %w", dir, err)
	}
	if _, err := os.Stat(filepath.Join(of, "partition")); err != nil {
		return device, nil
	}
	whole, err := os.ReadFile(filepath.Join(of, "..", "dev"))
	if err != nil {
		return "", fmt.Errorf("finding the disk of %s: %w", dir, err)
	}
	return strings.TrimSpace(string(whole)), nil
}
