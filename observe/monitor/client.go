package monitor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/banyanhq/banyan/observe/notify"
	"github.com/banyanhq/banyan/observe/rules"
)

// Client asks a Monitor that runs elsewhere.
type Client struct {
	base string
	http http.Client
}

// maxAnswer bounds an answer.
const maxAnswer = 64 << 20

// Dial returns a client for the monitor whose mux is served at a URL. It connects with the first call.
func Dial(base string) *Client {
	return &Client{base: strings.TrimSuffix(base, "/"), http: http.Client{Timeout: 6 * time.Minute}}
}

// Alerts that are pending or firing.
func (c *Client) Alerts(ctx context.Context) (all []Alert, err error) {
	return all, c.call(ctx, http.MethodGet, "/monitor/alerts", nil, &all)
}

// Board says how it stands with the objectives.
func (c *Client) Board(ctx context.Context) (b Board, err error) {
	return b, c.call(ctx, http.MethodGet, "/monitor/slos", nil, &b)
}

// Destinations counts the messages about alerts.
func (c *Client) Destinations(ctx context.Context) (all []notify.Status, err error) {
	return all, c.call(ctx, http.MethodGet, "/monitor/destinations", nil, &all)
}

// Replay says how often an alert would have fired; with an empty name, each of them.
func (c *Client) Replay(ctx context.Context, alert string, from, to time.Time, step time.Duration) (all []rules.Replay, err error) {
	q := url.Values{"alert": {alert}, "from": {from.UTC().Format(time.RFC3339)}, "to": {to.UTC().Format(time.RFC3339)}}
	if step > 0 {
		q.Set("step", step.String())
	}
	return all, c.call(ctx, http.MethodGet, "/monitor/replay?"+q.Encode(), nil, &all)
}

// Silences that there are, those that expired lately too.
func (c *Client) Silences(ctx context.Context) (all []notify.Silence, err error) {
	return all, c.call(ctx, http.MethodGet, "/api/v2/silences", nil, &all)
}

// Silence mutes alerts, and returns the id.
func (c *Client) Silence(ctx context.Context, s notify.Silence) (id string, err error) {
	var answer struct {
		SilenceID string `json:"silenceID"`
	}
	err = c.call(ctx, http.MethodPost, "/api/v2/silences", s, &answer)
	return answer.SilenceID, err
}

// Expire ends a silence.
func (c *Client) Expire(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/api/v2/silence/"+url.PathEscape(id), nil, nil)
}

func (c *Client) call(ctx context.Context, method, path string, body, into any) error {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("asking the monitor: %w", err)
	}
	defer resp.Body.Close()
	if data, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer)); err != nil {
		return fmt.Errorf("reading the monitor's answer: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return wrong(resp.Status, data)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("reading the monitor's answer: %w", err)
	}
	return nil
}

// wrong makes an error of an answer: Banyan's own says {"error": ...}, Alertmanager's is a string.
func wrong(status string, data []byte) error {
	var own struct {
		Error string `json:"error"`
	}
	var text string
	switch {
	case json.Unmarshal(data, &own) == nil && own.Error != "":
		return errors.New(own.Error)
	case json.Unmarshal(data, &text) == nil && text != "":
		return errors.New(text)
	}
	return fmt.Errorf("the monitor answers %s: is this one of Banyan's?", status)
}
