package notify

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/banyanhq/banyan/observe/rules"
)

type gettableAlert struct {
	Annotations  labels.Labels  `json:"annotations"`
	EndsAt       time.Time      `json:"endsAt"`
	Fingerprint  string         `json:"fingerprint"`
	Receivers    []receiverName `json:"receivers"`
	StartsAt     time.Time      `json:"startsAt"`
	Status       alertStatus    `json:"status"`
	UpdatedAt    time.Time      `json:"updatedAt"`
	GeneratorURL string         `json:"generatorURL"`
	Labels       labels.Labels  `json:"labels"`
}

type receiverName struct {
	Name string `json:"name"`
}

type alertStatus struct {
	InhibitedBy []string `json:"inhibitedBy"`
	SilencedBy  []string `json:"silencedBy"`
	State       string   `json:"state"`
}

type gettableGroup struct {
	Labels   labels.Labels   `json:"labels"`
	Receiver receiverName    `json:"receiver"`
	Alerts   []gettableAlert `json:"alerts"`
}

// gettableAlerts are the alerts that fire and that a query wants.
func (n *Notifier) gettableAlerts(all []rules.Alert, query url.Values) ([]gettableAlert, error) {
	wanted, err := filters(query["filter"])
	if err != nil {
		return nil, err
	}
	receiver, err := regexp.Compile("^(?:" + query.Get("receiver") + ")$")
	if err != nil {
		return nil, fmt.Errorf("receiver: %w", err)
	}
	out := []gettableAlert{}
	for _, a := range all {
		if a.State != rules.Firing {
			continue
		}
		g := n.gettableAlert(a, time.Now())
		state := "active"
		if g.Status.State == "suppressed" {
			state = "silenced"
		}
		named := query.Get("receiver") == "" || slices.ContainsFunc(g.Receivers, func(r receiverName) bool { return receiver.MatchString(r.Name) })
		if query.Get(state) != "false" && named && wanted.match(g.Labels.Map()) {
			out = append(out, g)
		}
	}
	return out, nil
}

func (n *Notifier) gettableAlert(a rules.Alert, now time.Time) gettableAlert {
	l := n.complete(a.Labels)
	g := gettableAlert{Annotations: a.Annotations, EndsAt: now.Add(n.cfg.Resolve), Fingerprint: fingerprint(l), Receivers: []receiverName{},
		StartsAt: a.Fired, UpdatedAt: now, GeneratorURL: graphLink(n.cfg.External, a.Rule), Labels: l,
		Status: alertStatus{InhibitedBy: []string{}, SilencedBy: []string{}, State: "active"}}
	if by := n.cfg.Silences.By(l, now); len(by) > 0 {
		g.Status.State, g.Status.SilencedBy = "suppressed", by
	}
	for _, r := range n.routesOf(l) {
		g.Receivers = append(g.Receivers, receiverName{r.Receiver})
	}
	return g
}

// gettableGroups puts alerts together as they are told of.
func (n *Notifier) gettableGroups(all []gettableAlert) []gettableGroup {
	places := map[string]int{}
	groups := []gettableGroup{}
	add := func(receiver string, by labels.Labels, a gettableAlert) {
		key := receiver + by.String()
		at, ok := places[key]
		if !ok {
			at = len(groups)
			places[key] = at
			groups = append(groups, gettableGroup{Labels: by, Receiver: receiverName{receiver}})
		}
		groups[at].Alerts = append(groups[at].Alerts, a)
	}
	for _, a := range all {
		routes := n.routesOf(a.Labels)
		for _, r := range routes {
			add(r.Receiver, r.group(a.Labels), a)
		}
		if len(routes) == 0 { // nobody is told of it here
			add("", labels.EmptyLabels(), a)
		}
	}
	slices.SortFunc(groups, func(a, b gettableGroup) int {
		return cmp.Or(labels.Compare(a.Labels, b.Labels), cmp.Compare(a.Receiver.Name, b.Receiver.Name))
	})
	return groups
}

// filter is what clients ask for: all of its matchers must match.
type filter []*labels.Matcher

var matcherText = regexp.MustCompile(`^\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(=~|=|!=|!~)\s*((?s).*?)\s*$`)

// filters reads matchers as Alertmanager's clients write them: name="value", the quotes may be missing.
func filters(texts []string) (f filter, err error) {
	kinds := map[string]labels.MatchType{"=": labels.MatchEqual, "!=": labels.MatchNotEqual, "=~": labels.MatchRegexp, "!~": labels.MatchNotRegexp}
	if len(texts) > maxMatchers {
		return nil, fmt.Errorf("%d filters: at most %d", len(texts), maxMatchers)
	}
	for _, text := range texts {
		parts := matcherText.FindStringSubmatch(text)
		if parts == nil {
			return nil, fmt.Errorf("bad matcher format: %.200s", text)
		}
		value := parts[3]
		if strings.HasPrefix(value, `"`) {
			if value, err = strconv.Unquote(value); err != nil {
				return nil, fmt.Errorf("matcher value %.200s: %w", parts[3], err)
			}
		}
		m, err := labels.NewMatcher(kinds[parts[2]], parts[1], value)
		if err != nil {
			return nil, fmt.Errorf("matcher %.200s: %w", text, err)
		}
		f = append(f, m)
	}
	return f, nil
}

func (f filter) match(values map[string]string) bool {
	return !slices.ContainsFunc(f, func(m *labels.Matcher) bool { return !m.Matches(values[m.Name]) })
}

// silence holds the filter against what a silence's matchers say.
func (f filter) silence(one *Silence) bool {
	values := map[string]string{}
	for _, m := range one.Matchers {
		values[m.Name] = m.Value
	}
	return f.match(values)
}
