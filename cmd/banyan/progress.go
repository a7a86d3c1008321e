package main

import (
	"fmt"
	"io"
	"strings"
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
