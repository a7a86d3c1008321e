package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/banyanhq/banyan/load"
)

// progressLine keeps one line on a terminal up to date; it is silent in a pipe.
type progressLine struct {
	w     io.Writer // nil: silent
	width int
}

func (c *cli) progress() *progressLine {
	if c.json || !terminal(c.err) {
		return &progressLine{}
	}
	return &progressLine{w: c.err}
}

func (p *progressLine) show(s load.Progress) {
	if p.w == nil {
		return
	}
	phase := ""
	if s.Warming {
		phase = " warming up"
	}
	line := fmt.Sprintf("%s of %s%s: %s/s, p50 %s, p99 %s, %d in flight, %d sent, %d failed, generator %.1f of %d cores",
		s.Elapsed.Round(time.Second), s.Length.Round(time.Second), phase, digits(s.Completed), duration(s.P50), duration(s.P99),
		s.InFlight, s.TotalSent, s.TotalFailed, s.CPU, s.Cores)
	p.print(line)
}

// print puts a line in the place of the one before.
func (p *progressLine) print(line string) {
	pad := max(0, p.width-len(line))
	p.width = len(line)
	fmt.Fprint(p.w, "\r"+line+strings.Repeat(" ", pad))
}

// end takes the line away.
func (p *progressLine) end() {
	if p.w != nil && p.width > 0 {
		fmt.Fprint(p.w, "\r"+strings.Repeat(" ", p.width)+"\r")
	}
}
