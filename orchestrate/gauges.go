package orchestrate

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// gauges are the files of a control group that tell what it used. They stay open, for they are read several times a second:
// opening and closing them costs more than reading.
type gauges struct {
	unified                                     bool // version 2
	cpu, throttling, memory, memoryStat, events *os.File
	buf                                         []byte
}

// gaugeBytes is more than the largest of the files has.
const gaugeBytes = 16 << 10

// openGauges of a group whose paths are given by controller. That of version 2 is "", which there is beside version 1 as well,
// without these files.
func openGauges(paths map[string]string) (*gauges, error) {
	g := &gauges{buf: make([]byte, gaugeBytes)}
	g.unified = paths["memory"] == ""
	name := func(controller, one, two string) string {
		if g.unified {
			return filepath.Join(paths[""], two)
		}
		return filepath.Join(paths[controller], one)
	}
	for _, f := range []struct {
		to   **os.File
		path string
	}{
		{&g.cpu, name("cpuacct", "cpuacct.usage", "cpu.stat")},
		{&g.throttling, name("cpu", "cpu.stat", "cpu.stat")},
		{&g.memory, name("memory", "memory.usage_in_bytes", "memory.current")},
		{&g.memoryStat, name("memory", "memory.stat", "memory.stat")},
		{&g.events, name("memory", "memory.oom_control", "memory.events")},
	} {
		file, err := os.Open(f.path)
		if err != nil {
			return nil, errors.Join(err, g.close())
		}
		*f.to = file
	}
	return g, nil
}

func (g *gauges) close() (err error) {
	for _, f := range []*os.File{g.cpu, g.throttling, g.memory, g.memoryStat, g.events} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

// text of a file as it is now, until the next call.
func (g *gauges) text(f *os.File) ([]byte, error) {
	n, err := f.ReadAt(g.buf, 0)
	if n == 0 && err != nil {
		return nil, fmt.Errorf("reading what a control group uses: %w", err)
	}
	return g.buf[:n], nil
}

// cpuTime used, user and system.
func (g *gauges) cpuTime() (time.Duration, error) {
	text, err := g.text(g.cpu)
	if err != nil {
		return 0, err
	}
	if g.unified {
		return time.Duration(field(text, "usage_usec")) * time.Microsecond, nil
	}
	return time.Duration(number(text)), nil
}

func (g *gauges) read() (c consumption, err error) {
	if c.cpu, err = g.cpuTime(); err != nil {
		return c, err
	}
	text, err := g.text(g.throttling)
	if err != nil {
		return c, err
	}
	c.periods, c.throttledPeriods = field(text, "nr_periods"), field(text, "nr_throttled")
	if g.unified {
		c.throttled = time.Duration(field(text, "throttled_usec")) * time.Microsecond
	} else {
		c.throttled = time.Duration(field(text, "throttled_time"))
	}
	if text, err = g.text(g.memory); err != nil {
		return c, err
	}
	memory := number(text)
	if text, err = g.text(g.memoryStat); err != nil {
		return c, err
	}
	// Files that the kernel would drop at once if memory were short are no use of the replica's: the working set, as
	// the kubelet counts it.
	idle := field(text, "inactive_file")
	if !g.unified {
		idle = field(text, "total_inactive_file")
	}
	c.memory = topology.Bytes(memory - min(idle, memory))
	if text, err = g.text(g.events); err != nil {
		return c, err
	}
	c.oomKills = field(text, "oom_kill")
	return c, nil
}

// field is the number that stands behind a name on a line of its own, 0 if there is none.
func field(text []byte, name string) uint64 {
	for len(text) > 0 {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		if value, ok := bytes.CutPrefix(line, []byte(name)); ok && len(value) > 0 && value[0] == ' ' {
			return number(value)
		}
		text = rest
	}
	return 0
}

func number(text []byte) uint64 {
	n, _ := strconv.ParseUint(string(bytes.TrimSpace(text)), 10, 64)
	return n
}
