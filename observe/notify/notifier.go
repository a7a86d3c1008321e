package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/banyanhq/banyan/observe/rules"
)

// Config of a Notifier.
type Config struct {
	// Alertmanagers by the URL of their root, for example http://127.0.0.1:9093.
	Alertmanagers []string
	// Receivers and the Routes that lead to them, for those who have no Alertmanager.
	Receivers []Receiver
	Routes    []Route
	// SMTP is the server for mail.
	SMTP *SMTP
	// Silences. Required.
	Silences *Silences
	// External is the URL of this server, in messages.
	External string
	// Labels added to every alert that lacks them, for example system.
	Labels map[string]string
	// Resolve is after how long without news an Alertmanager may take an alert for resolved. Default: 4 minutes.
	Resolve time.Duration
	// Log of messages that could not be delivered. Default: slog.Default().
	Log *slog.Logger
}

// Status counts messages of one destination.
type Status struct {
	Destination string `json:"destination"`
	Sent        int64  `json:"sent"`
	Failed      int64  `json:"failed"`
	Dropped     int64  `json:"dropped"`
	Error       string `json:"error,omitempty"`
}

// Notifier tells of alerts. Tell may be called from several goroutines at once.
type Notifier struct {
	cfg    Config
	routes []route
	client *http.Client
	in     chan []rules.Alert
	lost   atomic.Int64

	destinations []*destination
	receivers    map[string][]*destination

	groups map[string]*alertGroup // owned by Run
}

// queued is how many messages may wait for one destination.
const queued = 64

// New checks the configuration.
func New(cfg Config) (*Notifier, error) {
	if cfg.Silences == nil {
		return nil, errors.New("notifications need silences")
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Resolve == 0 {
		cfg.Resolve = 4 * time.Minute
	}
	routes, err := compile(&cfg)
	if err != nil {
		return nil, fmt.Errorf("notifications: %w", err)
	}
	n := &Notifier{cfg: cfg, routes: routes, client: &http.Client{Timeout: 10 * time.Second}, in: make(chan []rules.Alert, 1024),
		receivers: map[string][]*destination{}, groups: map[string]*alertGroup{}}
	for _, u := range cfg.Alertmanagers {
		if !isURL(u) {
			return nil, fmt.Errorf("notifications: alertmanager %q: want a URL such as http://127.0.0.1:9093", u)
		}
		n.add("alertmanager "+u, n.toAlertmanager(strings.TrimSuffix(u, "/")+"/api/v2/alerts"))
	}
	for _, r := range cfg.Receivers {
		if r.Webhook != "" {
			n.receivers[r.Name] = append(n.receivers[r.Name], n.add("webhook of "+r.Name, n.toWebhook(r.Webhook)))
		}
		if r.Heartbeat != "" {
			n.receivers[r.Name] = append(n.receivers[r.Name], n.add("heartbeat of "+r.Name, n.toHeartbeat(r.Heartbeat)))
		}
		if len(r.Mail) > 0 {
			n.receivers[r.Name] = append(n.receivers[r.Name], n.add("mail of "+r.Name, n.toMail(r.Mail)))
		}
	}
	return n, nil
}

func (n *Notifier) add(name string, send func(context.Context, *message) error) *destination {
	d := &destination{name: name, send: send, queue: make(chan *message, queued), log: n.cfg.Log}
	n.destinations = append(n.destinations, d)
	return d
}

// Tell takes alerts over. It does not block: what cannot be taken is told of again by who evaluates the rules.
func (n *Notifier) Tell(alerts []rules.Alert) {
	select {
	case n.in <- alerts:
	default:
		n.lost.Add(int64(len(alerts)))
	}
}

// Status of every destination.
func (n *Notifier) Status() []Status {
	var out []Status
	for _, d := range n.destinations {
		failure, _ := d.failure.Load().(string)
		out = append(out, Status{d.name, d.sent.Load(), d.failed.Load(), d.dropped.Load(), failure})
	}
	return out
}

// Run tells until ctx ends, and returns when nothing is under way.
func (n *Notifier) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, d := range n.destinations {
		wg.Go(func() { d.run(ctx) })
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case alerts := <-n.in:
			n.take(alerts, time.Now())
		case <-ticker.C:
			n.flush(time.Now())
		}
	}
}

// alertGroup is what one message is about.
type alertGroup struct {
	route  *route
	key    string
	labels labels.Labels
	alerts map[uint64]heard
	due    time.Time // when it is looked at next
	sent   time.Time // the last message
	firing map[uint64]bool
}

// heard is an alert, and when it was told of last.
type heard struct {
	rules.Alert
	at time.Time
}

// silent is after how long without news an alert is dropped, without a word to anybody: its rule is evaluated no more, and
// nobody knows how it stands. A heartbeat ends with it.
const silent = 5 * time.Minute

// take sorts alerts into groups, and passes them on to Alertmanagers at once.
func (n *Notifier) take(alerts []rules.Alert, now time.Time) {
	for i := range alerts {
		alerts[i].Labels = n.complete(alerts[i].Labels)
	}
	if len(n.cfg.Alertmanagers) > 0 {
		m := &message{alerts: alerts}
		for _, d := range n.destinations[:len(n.cfg.Alertmanagers)] {
			d.put(m)
		}
	}
	for _, a := range alerts {
		for _, r := range n.routesOf(a.Labels) {
			n.group(r, a, now)
		}
	}
}

// routesOf are the routes that an alert takes.
func (n *Notifier) routesOf(l labels.Labels) (all []*route) {
	for i := range n.routes {
		if r := &n.routes[i]; r.matches(l) {
			all = append(all, r)
			if !r.Continue {
				break
			}
		}
	}
	return all
}

func (n *Notifier) complete(l labels.Labels) labels.Labels {
	b := labels.NewBuilder(l)
	for name, value := range n.cfg.Labels {
		if !l.Has(name) {
			b.Set(name, value)
		}
	}
	return b.Labels()
}

func (n *Notifier) group(r *route, a rules.Alert, now time.Time) {
	by := r.group(a.Labels)
	key := fmt.Sprintf("%d/%s:%s", r.index, r.Match, by)
	g := n.groups[key]
	if g == nil {
		if a.State != rules.Firing {
			return // nobody was told that it began
		}
		g = &alertGroup{route: r, key: key, labels: by, alerts: map[uint64]heard{}, firing: map[uint64]bool{}, due: now.Add(r.Wait)}
		n.groups[key] = g
	}
	h := a.Labels.Hash()
	before, known := g.alerts[h]
	g.alerts[h] = heard{a, now}
	if (!known || before.State != a.State) && !g.sent.IsZero() {
		g.due = minTime(g.due, maxTime(now, g.sent.Add(r.Interval)))
	}
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// flush sends the messages that are due.
func (n *Notifier) flush(now time.Time) {
	for _, key := range slices.Sorted(maps.Keys(n.groups)) {
		if g := n.groups[key]; !now.Before(g.due) {
			n.send(g, now)
			if len(g.alerts) == 0 {
				delete(n.groups, key)
			}
		}
	}
}

// send makes a message of a group: if something began or ended since the last, or it is time to repeat.
func (n *Notifier) send(g *alertGroup, now time.Time) {
	m := &message{group: g.labels, receiver: g.route.Receiver, key: g.key, external: n.cfg.External}
	news := false
	for h, a := range g.alerts {
		if now.Sub(a.at) > silent {
			n.cfg.Log.Warn("an alert is no longer evaluated", "alert", a.Labels.String())
			delete(g.alerts, h)
			delete(g.firing, h)
			continue
		}
		if len(n.cfg.Silences.By(a.Labels, now)) > 0 {
			if a.State == rules.Inactive {
				delete(g.alerts, h)
				delete(g.firing, h)
			}
			continue
		}
		switch {
		case a.State == rules.Firing:
			news = news || !g.firing[h]
			m.alerts = append(m.alerts, a.Alert)
			g.firing[h] = true
		case g.firing[h]: // it ended
			news = true
			m.alerts = append(m.alerts, a.Alert)
			delete(g.alerts, h)
			delete(g.firing, h)
		default:
			delete(g.alerts, h)
		}
	}
	repeat := !g.sent.IsZero() && now.Sub(g.sent) >= g.route.Repeat
	g.due = now.Add(g.route.Interval)
	if len(m.alerts) == 0 || !news && !repeat {
		if !g.sent.IsZero() {
			g.due = minTime(g.due, maxTime(now.Add(time.Second), g.sent.Add(g.route.Repeat)))
		}
		return
	}
	slices.SortFunc(m.alerts, func(a, b rules.Alert) int {
		return cmp.Or(cmp.Compare(b.State, a.State), a.Active.Compare(b.Active), labels.Compare(a.Labels, b.Labels))
	})
	g.sent = now
	g.due = minTime(g.due, now.Add(g.route.Repeat))
	for _, d := range n.receivers[g.route.Receiver] {
		d.put(m)
	}
}

// fingerprint of labels, as Alertmanager writes it.
func fingerprint(l labels.Labels) string {
	h := fnv.New64a()
	l.Range(func(l labels.Label) {
		h.Write([]byte(l.Name))
		h.Write([]byte{255})
		h.Write([]byte(l.Value))
		h.Write([]byte{255})
	})
	return fmt.Sprintf("%016x", h.Sum64())
}
