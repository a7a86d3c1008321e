package orchestrate

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestGauges(t *testing.T) {
	one := map[string]string{
		"cpuacct.usage":         "1500000000\n",
		"cpu.stat":              "nr_periods 40\nnr_throttled 3\nthrottled_time 250000000\n",
		"memory.usage_in_bytes": "9000000\n",
		"memory.stat":           "cache 5\ninactive_file 7\ntotal_cache 5\ntotal_inactive_file 2000000\n",
		"memory.oom_control":    "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
	}
	two := map[string]string{
		"cpu.stat":       "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\nnr_periods 40\nnr_throttled 3\nthrottled_usec 250000\n",
		"memory.current": "9000000\n",
		"memory.stat":    "anon 1\ninactive_file 2000000\n",
		"memory.events":  "low 0\noom 9\noom_kill 2\noom_group_kill 0\n",
	}
	// The kernel counts inactive files as used; more of them than are in use is a race of two readings.
	racing := maps.Clone(two)
	racing["memory.stat"] = "inactive_file 9000001\n"
	want := consumption{cpu: 1500 * time.Millisecond, periods: 40, throttledPeriods: 3, throttled: 250 * time.Millisecond, memory: 7000000, oomKills: 2}
	none := want
	none.memory = 0
	for name, c := range map[string]struct {
		files       map[string]string
		controllers []string
		want        consumption
	}{
		"version 1":         {one, []string{"cpu", "cpuacct", "memory", ""}, want},
		"version 2":         {two, []string{""}, want},
		"version 2, a race": {racing, []string{""}, none},
	} {
		t.Run(name, func(t *testing.T) {
			dir, paths := t.TempDir(), map[string]string{}
			for file, text := range c.files {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for _, controller := range c.controllers {
				paths[controller] = dir
			}
			g, err := openGauges(paths)
			if err != nil {
				t.Fatal(err)
			}
			defer g.close()
			for range 2 { // files that stay open are read from the beginning each time
				if got, err := g.read(); err != nil || got != c.want {
					t.Errorf("%+v, %v; want %+v", got, err, c.want)
				}
			}
			if got, err := g.cpuTime(); err != nil || got != c.want.cpu {
				t.Errorf("CPU time %v, %v", got, err)
			}
		})
	}
	if _, err := openGauges(map[string]string{"": t.TempDir()}); err == nil {
		t.Error("files that are not there were opened")
	}
}
