package load

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// WriteText writes the comparison for a person to read.
func (d *Diff) WriteText(w io.Writer) error {
	var b strings.Builder
	t := table{left: 2}
	t.row("step", "figure", "old", "new", "change", "interval", "verdict")
	for _, s := range d.Steps {
		name := s.Name
		for _, f := range s.Figures {
			t.row(append([]string{name}, f.cells()...)...)
			name = ""
		}
	}
	t.write(&b)
	fmt.Fprintf(&b, "\n%s Let pass: %s, errors %s.\n", d.Method, percent(d.Options.Tolerance), percent(d.Options.ErrorTolerance))
	for _, warning := range d.Warnings {
		fmt.Fprintf(&b, "! %s\n", warning)
	}
	verdict := "No figure is worse beyond chance and tolerance."
	if d.Worse {
		verdict = "WORSE: some figure is, beyond chance and tolerance."
	}
	b.WriteString("\n" + verdict + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (f FigureDiff) cells() []string {
	value := func(v float64) string {
		switch {
		case f.Name == "rate":
			return number3(v) + "/s"
		case f.Name == "errors":
			return percent(v)
		case v == 0:
			return "-"
		}
		return brief(time.Duration(v))
	}
	change := func(v float64) string { return fmt.Sprintf("%+.1f%%", 100*v) }
	if f.Name == "errors" {
		change = func(v float64) string { return fmt.Sprintf("%+.3f", 100*v) }
	}
	cells := []string{f.Name, value(f.Old), value(f.New)}
	if f.Low == 0 && f.High == 0 {
		return append(cells, "-", "-", string(f.Verdict))
	}
	return append(cells, change(f.Change), change(f.Low)+" to "+change(f.High), string(f.Verdict))
}
