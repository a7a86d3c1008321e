package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/banyanhq/banyan/observe/rules"
)

// message is what a destination is told at once.
type message struct {
	alerts   []rules.Alert
	group    labels.Labels
	receiver string
	key      string
	external string
}

// firing counts the alerts of a message that fire.
func (m *message) firing() (n int) {
	for _, a := range m.alerts {
		if a.State == rules.Firing {
			n++
		}
	}
	return n
}

// destination delivers messages one after the other.
type destination struct {
	name  string
	send  func(context.Context, *message) error
	queue chan *message
	log   *slog.Logger

	sent, failed, dropped atomic.Int64
	failure               atomic.Value // string
}

// put queues a message; the oldest goes when there is no room: what is new matters more.
func (d *destination) put(m *message) {
	for {
		select {
		case d.queue <- m:
			return
		default:
		}
		select {
		case <-d.queue:
			d.dropped.Add(1)
		default:
		}
	}
}

// tries of one message.
const tries = 4

func (d *destination) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-d.queue:
			d.deliver(ctx, m)
		}
	}
}

// deliver tries a few times, with growing pauses.
func (d *destination) deliver(ctx context.Context, m *message) {
	pause := time.Second
	for try := 1; ; try++ {
		err := d.send(ctx, m)
		if err == nil {
			d.sent.Add(1)
			d.failure.Store("")
			return
		}
		if ctx.Err() != nil {
			return
		}
		d.failure.Store(err.Error())
		if try == tries {
			d.failed.Add(1)
			d.log.Error("an alert was not delivered", "destination", d.name, "error", err)
			return
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		pause *= 3
	}
}

// post sends JSON and wants a 2xx.
func (n *Notifier) post(ctx context.Context, url string, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	return n.do(req)
}

func (n *Notifier) do(req *http.Request) error {
	req.Header.Set("User-Agent", "Banyan")
	resp, err := n.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 512))
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %.200s", resp.Status, bytes.TrimSpace(text))
	}
	return err
}

// postable is an alert of Alertmanager's API v2.
type postable struct {
	Labels       labels.Labels `json:"labels"`
	Annotations  labels.Labels `json:"annotations"`
	StartsAt     time.Time     `json:"startsAt"`
	EndsAt       time.Time     `json:"endsAt,omitzero"`
	GeneratorURL string        `json:"generatorURL,omitempty"`
}

func (n *Notifier) toAlertmanager(url string) func(context.Context, *message) error {
	return func(ctx context.Context, m *message) error {
		out := make([]postable, 0, len(m.alerts))
		for _, a := range m.alerts {
			p := postable{a.Labels, a.Annotations, a.Fired, a.Resolved, graphLink(n.cfg.External, a.Rule)}
			if p.EndsAt.IsZero() {
				p.EndsAt = time.Now().Add(n.cfg.Resolve)
			}
			out = append(out, p)
		}
		return n.post(ctx, url, out)
	}
}

// webhook is Alertmanager's payload (prometheus.io/docs/alerting/latest/configuration/#webhook_config).
type webhook struct {
	Version           string         `json:"version"`
	GroupKey          string         `json:"groupKey"`
	TruncatedAlerts   int            `json:"truncatedAlerts"`
	Status            string         `json:"status"`
	Receiver          string         `json:"receiver"`
	GroupLabels       labels.Labels  `json:"groupLabels"`
	CommonLabels      labels.Labels  `json:"commonLabels"`
	CommonAnnotations labels.Labels  `json:"commonAnnotations"`
	ExternalURL       string         `json:"externalURL"`
	Alerts            []webhookAlert `json:"alerts"`
}

type webhookAlert struct {
	Status       string        `json:"status"`
	Labels       labels.Labels `json:"labels"`
	Annotations  labels.Labels `json:"annotations"`
	StartsAt     time.Time     `json:"startsAt"`
	EndsAt       time.Time     `json:"endsAt"`
	GeneratorURL string        `json:"generatorURL"`
	Fingerprint  string        `json:"fingerprint"`
}

// maxAlerts of one message; the payload says how many were left out.
const maxAlerts = 200

func status(firing bool) string {
	if firing {
		return "firing"
	}
	return "resolved"
}

func (n *Notifier) toWebhook(url string) func(context.Context, *message) error {
	return func(ctx context.Context, m *message) error { return n.post(ctx, url, m.webhook()) }
}

func (m *message) webhook() webhook {
	shown := m.alerts[:min(len(m.alerts), maxAlerts)]
	w := webhook{Version: "4", GroupKey: m.key, TruncatedAlerts: len(m.alerts) - len(shown), Status: status(m.firing() > 0), Receiver: m.receiver,
		GroupLabels: m.group, ExternalURL: m.external}
	w.CommonLabels = common(m.alerts, func(a rules.Alert) labels.Labels { return a.Labels })
	w.CommonAnnotations = common(m.alerts, func(a rules.Alert) labels.Labels { return a.Annotations })
	for _, a := range shown {
		w.Alerts = append(w.Alerts, webhookAlert{status(a.State == rules.Firing), a.Labels, a.Annotations, a.Fired, a.Resolved,
			graphLink(m.external, a.Rule), fingerprint(a.Labels)})
	}
	return w
}

// common are the labels that all alerts have with the same value.
func common(all []rules.Alert, of func(rules.Alert) labels.Labels) labels.Labels {
	if len(all) == 0 {
		return labels.EmptyLabels()
	}
	b := labels.NewBuilder(of(all[0]))
	of(all[0]).Range(func(l labels.Label) {
		for _, a := range all[1:] {
			if of(a).Get(l.Name) != l.Value {
				b.Del(l.Name)
			}
		}
	})
	return b.Labels()
}

// toHeartbeat calls a URL while something fires: that the watchdog no longer does is what the other side waits for.
func (n *Notifier) toHeartbeat(url string) func(context.Context, *message) error {
	return func(ctx context.Context, m *message) error {
		if m.firing() == 0 {
			return nil
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		return n.do(req)
	}
}
