package orchestrate

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/banyanhq/banyan/topology"
)

// diagnose says why a replica that runs is not ready, as far as the kernel can tell: where it listens instead. refused
// says that its address refused the last connection.
func diagnose(pids []int, port int, refused bool) string {
	ports := listening(pids)
	switch {
	case slices.Contains(ports, port) && refused:
		return fmt.Sprintf("it listens on port %d, but not at 127.0.0.1", port)
	case slices.Contains(ports, port):
		return ""
	case len(ports) == 0:
		return fmt.Sprintf("it listens on no port; it was given PORT=%d", port)
	case len(ports) == 1:
		return fmt.Sprintf("it listens on port %d, not on the PORT=%d it was given", ports[0], port)
	}
	words := make([]string, len(ports))
	for i, p := range ports {
		words[i] = strconv.Itoa(p)
	}
	return fmt.Sprintf("it listens on ports %s, not on the PORT=%d it was given", strings.Join(words, ", "), port)
}

// listening returns the TCP ports on which the processes listen, in order.
func listening(pids []int) []int {
	byInode := make(map[string]int)
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		readListeners(table, byInode)
	}
	var ports []int
	for _, pid := range pids {
		fds := filepath.Join("/proc", strconv.Itoa(pid), "fd")
		entries, err := os.ReadDir(fds)
		if err != nil {
			continue
		}
		for _, e := range entries {
			target, err := os.Readlink(filepath.Join(fds, e.Name()))
			if err != nil {
				continue
			}
			inode := strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]")
			if port, ok := byInode[inode]; ok && !slices.Contains(ports, port) {
				ports = append(ports, port)
			}
		}
	}
	slices.Sort(ports)
	return ports
}

// readListeners adds the listening sockets of a table such as /proc/net/tcp: port by inode.
func readListeners(table string, byInode map[string]int) {
	file, err := os.Open(table)
	if err != nil {
		return
	}
	defer file.Close()
	const listen = "0A"
	for sc := bufio.NewScanner(file); sc.Scan(); {
		f := strings.Fields(sc.Text())
		if len(f) < 10 || f[3] != listen {
			continue
		}
		_, hex, _ := strings.Cut(f[1], ":")
		if port, err := strconv.ParseUint(hex, 16, 16); err == nil {
			byInode[f[9]] = int(port)
		}
	}
}

// addressInUse reports whether a program's last lines say that its port was taken.
func addressInUse(lines []string) bool {
	for _, l := range lines {
		l = strings.ToLower(l)
		if strings.Contains(l, "address already in use") || strings.Contains(l, "eaddrinuse") {
			return true
		}
	}
	return false
}

// formatBytes writes an amount as the topology file does.
func formatBytes(b topology.Bytes) string {
	for _, unit := range []struct {
		size topology.Bytes
		name string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if b >= unit.size && b%unit.size == 0 {
			return fmt.Sprintf("%d%s", b/unit.size, unit.name)
		}
		if b >= unit.size {
			return fmt.Sprintf("%.1f%s", float64(b)/float64(unit.size), unit.name)
		}
	}
	return fmt.Sprintf("%dB", b)
}

// formatCPU writes an amount of CPU as the topology file does.
func formatCPU(c topology.CPU) string { return strconv.FormatFloat(float64(c), 'g', 4, 64) }
