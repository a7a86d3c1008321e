package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/charmbracelet/x/term"

	"github.com/banyanhq/banyan/load"
	"github.com/banyanhq/banyan/load/liveview"
)

// lineEvery is how often a line tells of a load test where there is no terminal.
const lineEvery = 10 * time.Second

// loadProgress shows a load test that is under way.
type loadProgress struct {
	view   liveview.View
	screen *liveview.Screen // nil: lines
	size   func() (width, height int)
	lines  io.Writer // nil: silent, or a screen
	told   time.Duration
	json   io.Writer // each look as a line, for programs; nil: none
}

// loadProgress returns what shows a load test in the way that was asked for.
func (c *cli) loadProgress(how string) (*loadProgress, error) {
	file, _ := c.err.(*os.File)
	tty := file != nil && terminal(file)
	if how == "auto" || how == "" {
		switch {
		case tty && os.Getenv("TERM") != "dumb":
			how = "live"
		case c.json:
			how = "none"
		default:
			how = "lines"
		}
	}
	p := &loadProgress{}
	switch how {
	case "live":
		if !tty {
			return nil, usagef("--progress live: standard error is not a terminal")
		}
		p.screen, p.view.Colour = liveview.NewScreen(c.err), os.Getenv("NO_COLOR") == ""
		p.size = func() (int, int) {
			width, height, err := term.GetSize(file.Fd())
			if err != nil || width <= 0 || height <= 0 {
				return 80, 24
			}
			return width, height
		}
	case "lines":
		p.lines = c.err
	case "json":
		p.json = c.err
	case "none":
	default:
		return nil, usagef("--progress %q: want live, lines, json, none or auto", how)
	}
	return p, nil
}

// show takes the next look.
func (p *loadProgress) show(s load.Progress) {
	if p.json != nil {
		_ = json.NewEncoder(p.json).Encode(s) // whoever reads may have gone
		return
	}
	if p.screen == nil && p.lines == nil {
		return
	}
	p.view.Add(s)
	if p.screen != nil {
		width, height := p.size()
		p.screen.Draw(p.view.Frame(width-1, height-1), width, height) // the last cell and line would move the screen
		return
	}
	if s.Elapsed-p.told >= lineEvery-lineEvery/20 { // looks come a second apart, more or less
		p.told = s.Elapsed
		fmt.Fprintln(p.lines, p.view.Line())
	}
}

// end takes the picture away.
func (p *loadProgress) end() {
	if p.screen != nil {
		p.screen.Clear()
	}
}
