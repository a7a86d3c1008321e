package load

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// WriteText writes what was found for a person to read: the knee, then the curve by rising rate.
func (k *Knee) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: highest rate that holds %s, seed %d\n\n", k.Target, strings.Join(k.SLO, ", "), k.Seed)
	t := table{left: 2}
	t.row("rate", "verdict", "achieved", "length", "mean", "p50", "p90", "p99", "max", "errors", "cool-down")
	probes := slices.Clone(k.Probes)
	slices.SortStableFunc(probes, func(a, b KneeProbe) int {
		switch {
		case a.Rate < b.Rate:
			return -1
		case a.Rate > b.Rate:
			return 1
		}
		return 0
	})
	for _, p := range probes {
		t.row(p.cells()...)
	}
	t.write(&b)
	fmt.Fprintf(&b, "rate: starts of scenarios; median latency at rest %s; hopeless probes were stopped early and show what was seen until then\n\n", brief(k.Base))
	b.WriteString(k.Summary() + "\n")
	for _, warning := range k.Warnings {
		fmt.Fprintf(&b, "! %s\n", warning)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Summary is the knee in one sentence.
func (k *Knee) Summary() string {
	rate := func(x float64) string { return number3(x) + "/s" }
	switch {
	case k.Knee > 0 && k.Found:
		return fmt.Sprintf("Knee: %s, 95%% interval %s to %s, from %d probes in %s.", rate(k.Knee), rate(k.Low), rate(k.High), len(k.Probes), brief(k.End.Sub(k.Start)))
	case k.Knee > 0:
		return fmt.Sprintf("Knee: about %s, 95%% interval %s to %s; %s.", rate(k.Knee), rate(k.Low), rate(k.High), k.Why)
	case k.Low > 0:
		return fmt.Sprintf("Knee not found: %s holds; %s.", rate(k.Low), k.Why)
	case k.High > 0:
		return fmt.Sprintf("Knee not found: %s breaks; %s.", rate(k.High), k.Why)
	}
	return fmt.Sprintf("Knee not found: %s.", k.Why)
}

// String is the probe in one line.
func (p KneeProbe) String() string {
	c := p.cells()
	line := fmt.Sprintf("%s %s: p50 %s, p99 %s, errors %s", c[0], c[1], c[5], c[7], c[9])
	if p.Why != "" {
		line += " (" + p.Why + ")"
	}
	return line
}

func (p KneeProbe) cells() []string {
	d := func(d time.Duration) string {
		if p.Max == 0 {
			return "-"
		}
		return brief(d)
	}
	cool := ""
	if p.CoolDown > 0 {
		cool = brief(p.CoolDown)
	}
	return []string{number3(p.Rate) + "/s", string(p.Verdict), number3(p.Achieved) + "/s", brief(p.Duration.Round(time.Millisecond)), d(p.Mean), d(p.P50), d(p.P90), d(p.P99), d(p.Max),
		percent(p.Errors), cool}
}
