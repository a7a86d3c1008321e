package liveview

import (
	"fmt"
	"io"
	"strings"
)

// Screen shows frames one in the place of the other. It leaves the modes of the terminal as they are.
type Screen struct {
	w             io.Writer
	drawn         int // lines of the frame that is seen
	width, height int
}

// NewScreen returns a screen on w, a terminal.
func NewScreen(w io.Writer) *Screen { return &Screen{w: w} }

// Control sequences of ECMA-48, and that of synchronized output, which terminals that do not know it pass over.
const (
	beginFrame = "\x1b[?2026h"
	endFrame   = "\x1b[?2026l"
	eraseLine  = "\x1b[K"
	eraseBelow = "\x1b[J"
	home       = "\x1b[H"
)

// Draw puts lines, none longer than width, in the place of the frame before. The size is that of the terminal: where it has
// changed, nobody knows where the old frame went, and the screen is wiped.
func (s *Screen) Draw(lines []string, width, height int) {
	var b strings.Builder
	b.WriteString(beginFrame)
	if s.drawn > 0 && (s.width != width || s.height != height) {
		b.WriteString(home + eraseBelow)
	} else {
		s.top(&b)
	}
	s.width, s.height = width, height
	for i, line := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(line + eraseLine)
	}
	b.WriteString(eraseBelow + endFrame)
	s.drawn = len(lines)
	_, _ = io.WriteString(s.w, b.String()) // a terminal that is gone is no reason to end the test
}

// Clear takes the frame away.
func (s *Screen) Clear() {
	if s.drawn == 0 {
		return
	}
	var b strings.Builder
	s.top(&b)
	b.WriteString(eraseBelow)
	s.drawn = 0
	_, _ = io.WriteString(s.w, b.String())
}

// top goes to the first cell of the frame.
func (s *Screen) top(b *strings.Builder) {
	b.WriteString("\r")
	if s.drawn > 1 {
		fmt.Fprintf(b, "\x1b[%dA", s.drawn-1)
	}
}
