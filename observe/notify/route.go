package notify

import (
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Receiver says who is told, and how. A receiver has any of the ways.
type Receiver struct {
	Name string
	// Webhook is a URL that is posted Alertmanager's payload, version 4.
	Webhook string
	// Mail addresses; Config.SMTP says by which server.
	Mail []string
	// Heartbeat is a URL that is called (GET) at each message while alerts fire: for a watchdog.
	Heartbeat string
}

// Route leads alerts to a receiver. The first route that matches an alert takes it, and those after it too if it says so.
type Route struct {
	Receiver string
	// Match is a selector of labels such as {severity="page"}; empty: all alerts.
	Match string
	// GroupBy are the labels whose values make a group: one message. Default: alertname, slo.
	GroupBy []string
	// Wait for more alerts of a new group, and Interval between messages of a group that changed. Defaults: 10 s, 1 m.
	Wait, Interval time.Duration
	// Repeat is after how long a group that goes on is told of again. Default: 4 h.
	Repeat time.Duration
	// Continue has the next routes look at the alert too.
	Continue bool
}

// SMTP is the server that mail goes out by.
type SMTP struct {
	// Address host:port. TLS is begun by STARTTLS where the server offers it; port 465 speaks it from the start.
	Address string
	From    string
	// Username and Password; empty: none. They are sent over TLS, or to this machine, alone.
	Username, Password string
}

// route is one with its selector compiled.
type route struct {
	Route
	index int
	match []*labels.Matcher
}

// group returns the labels that say which group an alert belongs to.
func (r *route) group(l labels.Labels) labels.Labels {
	b := labels.NewScratchBuilder(len(r.GroupBy))
	for _, name := range slices.Sorted(slices.Values(r.GroupBy)) {
		if v := l.Get(name); v != "" {
			b.Add(name, v)
		}
	}
	return b.Labels()
}

func (r *route) matches(l labels.Labels) bool {
	return !slices.ContainsFunc(r.match, func(m *labels.Matcher) bool { return !m.Matches(l.Get(m.Name)) })
}

// compile checks routes against receivers.
func compile(cfg *Config) ([]route, error) {
	known := map[string]bool{}
	for _, r := range cfg.Receivers {
		if r.Name == "" || known[r.Name] {
			return nil, fmt.Errorf("receiver %q: its name is missing or stands twice", r.Name)
		}
		known[r.Name] = true
		if err := r.check(cfg.SMTP); err != nil {
			return nil, fmt.Errorf("receiver %s: %w", r.Name, err)
		}
	}
	p := parser.NewParser(parser.Options{})
	var out []route
	for i, r := range cfg.Routes {
		if !known[r.Receiver] {
			return nil, fmt.Errorf("route %d: there is no receiver %q", i+1, r.Receiver)
		}
		c := route{Route: r, index: i}
		if text := strings.TrimSpace(r.Match); text != "" {
			var err error
			if c.match, err = p.ParseMetricSelector(text); err != nil {
				return nil, fmt.Errorf("route %d: match %q: %w", i+1, r.Match, err)
			}
		}
		if len(c.GroupBy) == 0 {
			c.GroupBy = []string{labels.AlertName, "slo"}
		}
		for _, f := range []struct {
			field *time.Duration
			value time.Duration
		}{{&c.Wait, 10 * time.Second}, {&c.Interval, time.Minute}, {&c.Repeat, 4 * time.Hour}} {
			if *f.field == 0 {
				*f.field = f.value
			}
			if *f.field < 0 {
				return nil, fmt.Errorf("route %d: a negative time", i+1)
			}
		}
		out = append(out, c)
	}
	return out, nil
}

func (r *Receiver) check(smtp *SMTP) error {
	if r.Webhook == "" && r.Heartbeat == "" && len(r.Mail) == 0 {
		return errors.New("nothing says how: want a webhook, a heartbeat or mail addresses")
	}
	for _, u := range []string{r.Webhook, r.Heartbeat} {
		if u != "" && !isURL(u) {
			return fmt.Errorf("%q: want a URL", u)
		}
	}
	if len(r.Mail) > 0 && (smtp == nil || smtp.Address == "" || smtp.From == "") {
		return errors.New("mail needs a server: smtp with address and from")
	}
	for _, m := range r.Mail {
		if _, err := mail.ParseAddress(m); err != nil || strings.ContainsAny(m, "\r\n") {
			return fmt.Errorf("%q: want a mail address", m)
		}
	}
	return nil
}

func isURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
}
