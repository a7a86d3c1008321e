package topview

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/banyanhq/banyan/observe"
)

// fetchTimeout bounds one fetch. A system that is slower to answer than that counts as silent.
const fetchTimeout = 3 * time.Second

// Fetch returns the present status. It must return soon after ctx has ended.
type Fetch func(ctx context.Context) (observe.Status, error)

// Model is the live view. It implements tea.Model; each Update returns a new one.
type Model struct {
	fetch    Fetch
	interval time.Duration

	width, height int
	status        observe.Status
	fetched       bool  // once at least
	err           error // of the last fetch; nil: it succeeded
	failures      int   // fetches that failed since
	stale         int   // fetches since the last new sample

	pane     pane
	order    order
	expanded map[string]bool // by service; copied when changed
	selected [panes]string   // key of the row in each pane
	at       [panes]int      // its place when it was last seen, for when it is gone
	offset   [panes]int      // first row that is drawn

	drawMap    func(observe.Status) []string // nil: there is no picture
	mapX, mapY int                           // the cell of the picture at the top left
}

var _ tea.Model = Model{}

// New returns a view that fetches at once and then an interval after each answer. An interval of 0 or less means one
// second. Run it with tea.NewProgram.
func New(fetch Fetch, interval time.Duration) Model {
	if interval <= 0 {
		interval = time.Second
	}
	return Model{fetch: fetch, interval: interval, width: 80, height: 24}
}

// WithMap returns the view with a fourth pane, the picture of the architecture: draw returns its lines, filled with the
// figures of a status, and is called for each screen that shows it.
func (m Model) WithMap(draw func(observe.Status) []string) Model {
	m.drawMap = draw
	return m
}

// shown is how many panes there are.
func (m *Model) shown() pane {
	if m.drawMap == nil {
		return picture
	}
	return panes
}

type fetchedMsg struct {
	status observe.Status
	err    error
}

type fetchMsg struct{}

// Init implements tea.Model.
func (m Model) Init() tea.Cmd { return m.load }

func (m Model) load() tea.Msg {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	st, err := m.fetch(ctx)
	return fetchedMsg{st, err}
}

// Update implements tea.Model.
func (m Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case fetchMsg:
		return m, m.load
	case fetchedMsg:
		m.take(msg)
		m.scroll()
		return m, tea.Tick(m.interval, func(time.Time) tea.Msg { return fetchMsg{} })
	case tea.KeyPressMsg:
		if quit := m.key(msg.String()); quit {
			return m, tea.Quit
		}
	}
	m.scroll()
	return m, nil
}

func (m *Model) take(msg fetchedMsg) {
	if m.err = msg.err; m.err != nil {
		m.failures++
		return
	}
	m.failures = 0
	if m.fetched && msg.status.At.Equal(m.status.At) {
		m.stale++
	} else {
		m.stale = 0
	}
	m.status, m.fetched = msg.status, true
}

// key acts on a key and returns true for those that quit.
func (m *Model) key(key string) bool {
	if m.pane == picture && m.moveMap(key) {
		return false
	}
	switch key {
	case "q", "ctrl+c", "esc":
		return true
	case "up", "k":
		m.move(-1)
	case "down", "j":
		m.move(1)
	case "pgup":
		m.move(-max(m.room()-1, 1))
	case "pgdown", "space":
		m.move(max(m.room()-1, 1))
	case "home", "g":
		m.move(-1 << 20)
	case "end", "G":
		m.move(1 << 20)
	case "tab":
		m.pane = (m.pane + 1) % m.shown()
		m.fixOrder()
	case "shift+tab":
		m.pane = (m.pane + m.shown() - 1) % m.shown()
		m.fixOrder()
	case "1", "2", "3", "4":
		if p := pane(key[0] - '1'); p < m.shown() {
			m.pane = p
		}
		m.fixOrder()
	case "s":
		m.order = m.order.next(m.pane)
	case "enter":
		m.expand(nil)
	case "right", "l":
		open := true
		m.expand(&open)
	case "left", "h":
		open := false
		m.expand(&open)
	case "e":
		m.expandAll()
	}
	return false
}

func (m *Model) fixOrder() {
	if m.pane != services && m.order >= byCPU {
		m.order = byName
	}
}

func (m *Model) rows() []row {
	return rowsOf(m.status, m.pane, m.order, func(s string) bool { return m.expanded[s] })
}

// cursor returns the place of the selected row, or the one that took its place.
func (m *Model) cursor(rows []row) int {
	if i := slices.IndexFunc(rows, func(r row) bool { return r.key == m.selected[m.pane] }); i >= 0 {
		return i
	}
	return min(max(m.at[m.pane], 0), max(len(rows)-1, 0))
}

func (m *Model) move(by int) {
	rows := m.rows()
	if len(rows) == 0 {
		return
	}
	i := min(max(m.cursor(rows)+by, 0), len(rows)-1)
	m.selected[m.pane], m.at[m.pane] = rows[i].key, i
}

// expand shows or hides the replicas of the selected service, or of that which the selected replica belongs to; nil
// changes it to what it is not.
func (m *Model) expand(open *bool) {
	rows := m.rows()
	if m.pane != services || len(rows) == 0 {
		return
	}
	i := m.cursor(rows)
	for !rows[i].expandable {
		i--
	}
	service := rows[i].key[len("service "):]
	m.expanded = maps.Clone(m.expanded)
	if m.expanded == nil {
		m.expanded = map[string]bool{}
	}
	if open == nil {
		m.expanded[service] = !m.expanded[service]
	} else {
		m.expanded[service] = *open
	}
	if !m.expanded[service] {
		m.selected[m.pane], m.at[m.pane] = rows[i].key, i
	}
}

// expandAll shows the replicas of all services, or hides them if they are all shown.
func (m *Model) expandAll() {
	all := true
	for _, s := range m.status.Services {
		all = all && m.expanded[s.Service]
	}
	m.expanded = map[string]bool{}
	for _, s := range m.status.Services {
		m.expanded[s.Service] = !all
	}
}

// scroll keeps the selected row in sight and follows it when the order changes.
func (m *Model) scroll() {
	rows := m.rows()
	i := m.cursor(rows)
	if len(rows) > 0 {
		m.selected[m.pane], m.at[m.pane] = rows[i].key, i
	}
	room := max(m.room(), 1)
	o := &m.offset[m.pane]
	*o = min(max(*o, i-room+1), i)
	*o = max(min(*o, len(rows)-room), 0)
}

// trouble says in a line why the figures are not to be trusted, empty if they are.
func (m *Model) trouble() string {
	switch {
	case m.err != nil && !m.fetched:
		return fmt.Sprintf("The system does not answer: %v", m.err)
	case m.failures == 1:
		return fmt.Sprintf("The system did not answer: %v", m.err)
	case m.err != nil:
		return fmt.Sprintf("The system has stopped answering (%d times now): %v", m.failures, m.err)
	case m.stale >= 3:
		return "The system answers, but its figures stand still."
	}
	return ""
}
