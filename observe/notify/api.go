package notify

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/banyanhq/banyan/observe/rules"
)

// Mount adds that part of Alertmanager's API v2 which concerns silences and the alerts that are active, so that amtool and
// Grafana's Alertmanager source can be pointed here. active lists the alerts; Labels are those of the Config.
//
// What changes silences wants a body of application/json, which no foreign web page can send without being asked.
func (n *Notifier) Mount(mux *http.ServeMux, active func() []rules.Alert) {
	s := n.cfg.Silences
	mux.HandleFunc("GET /api/v2/silences", func(w http.ResponseWriter, r *http.Request) {
		wanted, err := filters(r.URL.Query()["filter"])
		if err != nil {
			reply(w, http.StatusBadRequest, err.Error())
			return
		}
		out := []gettableSilence{}
		for _, one := range s.List() {
			if wanted.silence(&one) {
				out = append(out, gettable(one))
			}
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
	mux.HandleFunc("GET /api/v2/alerts", func(w http.ResponseWriter, r *http.Request) {
		out, err := n.gettableAlerts(active(), r.URL.Query())
		if err != nil {
			reply(w, http.StatusBadRequest, err.Error())
			return
		}
		reply(w, http.StatusOK, out)
	})
	mux.HandleFunc("GET /api/v2/alerts/groups", func(w http.ResponseWriter, r *http.Request) {
		all, err := n.gettableAlerts(active(), r.URL.Query())
		if err != nil {
			reply(w, http.StatusBadRequest, err.Error())
			return
		}
		reply(w, http.StatusOK, n.gettableGroups(all))
	})
	mux.HandleFunc("GET /api/v2/receivers", func(w http.ResponseWriter, _ *http.Request) {
		out := []receiverName{}
		for _, r := range n.cfg.Receivers {
			out = append(out, receiverName{r.Name})
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
