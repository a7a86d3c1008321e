package notify

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/banyanhq/banyan/observe/rules"
)

// Mount adds that part of Alertmanager's API v2 which concerns silences and the alerts that are active, so that amtool and
// Grafana's Alertmanager source can be pointed here. active lists the alerts; Labels are those of the Config.
//
// What changes silences wants a body of application/json, which no foreign web page can send without being asked.
func (n *Notifier) Mount(mux *http.ServeMux, active func() []rules.Alert) {
	s := n.cfg.Silences
	mux.HandleFunc("GET /api/v2/silences", func(w http.ResponseWriter, _ *http.Request) {
		out := []gettableSilence{}
		for _, one := range s.List() {
			out = append(out, gettable(one))
		}
		reply(w, http.StatusOK, out)
	})
	mux.HandleFunc("GET /api/v2/silence/{id}", func(w http.ResponseWriter, r *http.Request) {
		one, err := s.Get(r.PathValue("id"))
		if err != nil {
			reply(w, http.StatusNotFound, err.Error())
			return
		}
		reply(w, http.StatusOK, gettable(one))
	})
	mux.HandleFunc("POST /api/v2/silences", func(w http.ResponseWriter, r *http.Request) {
		var one Silence
		if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media != "application/json" {
			reply(w, http.StatusUnsupportedMediaType, "want a body of application/json")
			return
		}
		if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&one); err != nil {
			reply(w, http.StatusBadRequest, "reading the silence: "+err.Error())
			return
		}
		id, err := s.Set(one, time.Now())
		switch {
		case errors.Is(err, ErrNoSilence):
			reply(w, http.StatusNotFound, err.Error())
		case err != nil:
			reply(w, http.StatusBadRequest, err.Error())
		default:
			reply(w, http.StatusOK, map[string]string{"silenceID": id})
		}
	})
	mux.HandleFunc("DELETE /api/v2/silence/{id}", func(w http.ResponseWriter, r *http.Request) {
		if err := s.Expire(r.PathValue("id"), time.Now()); err != nil {
			reply(w, http.StatusNotFound, err.Error())
		}
	})
	mux.HandleFunc("GET /api/v2/alerts", func(w http.ResponseWriter, _ *http.Request) {
		out := []gettableAlert{}
		for _, a := range active() {
			if a.State == rules.Firing {
				out = append(out, n.gettableAlert(a, time.Now()))
			}
		}
		reply(w, http.StatusOK, out)
	})
	mux.HandleFunc("GET /api/v2/status", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]any{"cluster": map[string]any{"status": "disabled", "peers": []string{}},
			"versionInfo": map[string]string{"version": "0.27.0", "branch": "", "buildDate": "", "buildUser": "", "goVersion": "", "revision": "banyan"},
			"config":      map[string]string{"original": ""}, "uptime": time.Time{}, "destinations": n.Status()})
	})
}

func reply(w http.ResponseWriter, code int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	w.Write(data)
}

type gettableSilence struct {
	Silence
	Status struct {
		State string `json:"state"`
	} `json:"status"`
}

func gettable(one Silence) gettableSilence {
	g := gettableSilence{Silence: one}
	g.Status.State = one.State(time.Now())
	return g
}

type gettableAlert struct {
	Annotations  labels.Labels       `json:"annotations"`
	EndsAt       time.Time           `json:"endsAt"`
	Fingerprint  string              `json:"fingerprint"`
	Receivers    []map[string]string `json:"receivers"`
	StartsAt     time.Time           `json:"startsAt"`
	Status       alertStatus         `json:"status"`
	UpdatedAt    time.Time           `json:"updatedAt"`
	GeneratorURL string              `json:"generatorURL"`
	Labels       labels.Labels       `json:"labels"`
}

type alertStatus struct {
	InhibitedBy []string `json:"inhibitedBy"`
	SilencedBy  []string `json:"silencedBy"`
	State       string   `json:"state"`
}

func (n *Notifier) gettableAlert(a rules.Alert, now time.Time) gettableAlert {
	l := n.complete(a.Labels)
	g := gettableAlert{Annotations: a.Annotations, EndsAt: now.Add(n.cfg.Resolve), Fingerprint: fingerprint(l), Receivers: []map[string]string{},
		StartsAt: a.Fired, UpdatedAt: now, GeneratorURL: graphLink(n.cfg.External, a.Rule), Labels: l,
		Status: alertStatus{InhibitedBy: []string{}, SilencedBy: []string{}, State: "active"}}
	if by := n.cfg.Silences.By(l, now); len(by) > 0 {
		g.Status.State, g.Status.SilencedBy = "suppressed", by
	}
	for _, r := range n.routes {
		if r.matches(l) {
			g.Receivers = append(g.Receivers, map[string]string{"name": r.Receiver})
			if !r.Continue {
				break
			}
		}
	}
	return g
}
