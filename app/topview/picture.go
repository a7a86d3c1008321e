package topview

import (
	"github.com/charmbracelet/x/ansi"
)

// picture draws what of the map is in sight: height lines.
func (m *Model) picture(width, height int) []string {
	all := m.drawMap(m.status)
	x, y := m.mapAt(all, width, height)
	lines := make([]string, 0, height)
	for i := range height {
		if y+i >= len(all) {
			lines = append(lines, "")
			continue
		}
		lines = append(lines, ansi.Cut(all[y+i], x, x+width))
	}
	return lines
}

// mapAt is where the part in sight begins: never so far that nothing is left to see.
func (m *Model) mapAt(all []string, width, height int) (x, y int) {
	widest := 0
	for _, l := range all {
		widest = max(widest, ansi.StringWidth(l))
	}
	return max(0, min(m.mapX, widest-width)), max(0, min(m.mapY, len(all)-height))
}

// moveMap moves the map by a key, and reports whether it is one for that.
func (m *Model) moveMap(key string) bool {
	all := m.drawMap(m.status)
	width, height := m.width-2*margin, m.height-above-1
	m.mapX, m.mapY = m.mapAt(all, width, height)
	switch key {
	case "up", "k":
		m.mapY -= 2
	case "down", "j":
		m.mapY += 2
	case "left", "h":
		m.mapX -= 8
	case "right", "l":
		m.mapX += 8
	case "pgup":
		m.mapY -= height
	case "pgdown", "space":
		m.mapY += height
	case "home", "g":
		m.mapX, m.mapY = 0, 0
	default:
		return false
	}
	m.mapX, m.mapY = m.mapAt(all, width, height)
	return true
}
