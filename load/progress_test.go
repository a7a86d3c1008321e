package load

import "testing"

func TestBottleneck(t *testing.T) {
	for _, x := range []struct {
		name string
		p    Progress
		want bool
	}{
		{"idle", Progress{Offered: 1000, CPU: 0.5, Cores: 2}, false},
		{"its CPU is used up", Progress{Offered: 1000, CPU: 1.9, Cores: 2}, true},
		{"20 ms behind", Progress{Offered: 1000, Behind: 20, CPU: 0.5, Cores: 2}, true},
		{"5 ms behind", Progress{Offered: 1000, Behind: 5, CPU: 0.5, Cores: 2}, false},
		{"behind for the limit on scenarios", Progress{Offered: 1000, Behind: 5000, Full: true, CPU: 0.5, Cores: 2}, false},
		{"waiting for connections", Progress{Offered: 1000, Waiting: 5000, CPU: 0.5, Cores: 2}, false},
		{"users", Progress{CPU: 0.5, Cores: 2}, false},
		{"nothing known", Progress{}, false},
	} {
		if got := x.p.Bottleneck(); (got != "") != x.want {
			t.Errorf("%s: %q", x.name, got)
		}
	}
}
