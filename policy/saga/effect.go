package saga

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Effect is an attempt that is to be made outside, with everything filled in.
type Effect struct {
	Saga, Run, Step string
	Undo            bool
	Attempt         int
	// Key by which whoever is asked knows an attempt that it has seen: that of the run and the step.
	Key     string
	Service string
	Method  string
	Path    string
	Headers map[string]string
	Body    json.RawMessage
	Accept  []int
	// Channel and ChannelKey, where it is a message.
	Channel    string
	ChannelKey string
	Timeout    time.Duration
}

// undoSuffix tells the key of what undoes a step from that of the step. No name of a step has an underscore and none is
// undo, so no two keys are the same.
const undoSuffix = "_undo"

// Effect is the attempt under way; ok is false if there is none. An error says that something that it refers to is not
// there: it can't be made, now or later.
func (in *Instance) Effect() (e Effect, ok bool, err error) {
	a := in.action()
	if !in.InFlight || a == nil {
		return Effect{}, false, nil
	}
	step := in.Def.Steps[in.At].Name
	e = Effect{Saga: in.Def.Name, Run: in.ID, Step: step, Undo: in.Status == Compensating, Attempt: in.Attempts, Key: in.ID + "_" + step,
		Service: a.Service, Method: a.Method, Accept: a.Accept, Channel: a.Channel, Timeout: a.Timeout}
	if e.Undo {
		e.Key += undoSuffix
	}
	if e.Path, err = in.text(a.Path, inPath); err != nil {
		return e, true, fmt.Errorf("path: %w", err)
	}
	if e.ChannelKey, err = in.text(a.Key, nil); err != nil {
		return e, true, fmt.Errorf("key: %w", err)
	}
	for name, text := range a.Headers {
		value, err := in.text(text, nil)
		if err == nil && strings.ContainsAny(value, "\r\n\x00") {
			err = fmt.Errorf("what it refers to has a line break")
		}
		if err != nil {
			return e, true, fmt.Errorf("header %s: %w", name, err)
		}
		if e.Headers == nil {
			e.Headers = map[string]string{}
		}
		e.Headers[name] = value
	}
	if e.Body = in.Input; a.Body != nil {
		if e.Body, err = in.body(a.Body); err != nil {
			return e, true, fmt.Errorf("json: %w", err)
		}
	}
	return e, true, nil
}

// inPath escapes a value for any place of a path or its query. Values that would make it another path are refused: without
// one, or with dots, a request about one thing could become one about all of them.
func inPath(value string) (string, error) {
	if value == "" || value == "." || value == ".." {
		return "", fmt.Errorf("%q can't stand in a path", value)
	}
	return strings.ReplaceAll(url.QueryEscape(value), "+", "%20"), nil
}

// text fills in the references of a text; escape is applied to each value.
func (in *Instance) text(text string, escape func(string) (string, error)) (string, error) {
	if !strings.Contains(text, "${") {
		return text, nil
	}
	parts, err := topology.ParseSagaText(text)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, p := range parts {
		if p.Reference == nil {
			out.WriteString(p.Text)
			continue
		}
		v, err := in.lookUp(*p.Reference)
		if err != nil {
			return "", err
		}
		word, err := asText(v)
		if err == nil && escape != nil {
			word, err = escape(word)
		}
		if err != nil {
			return "", fmt.Errorf("${%s}: %w", p.Reference, err)
		}
		out.WriteString(word)
	}
	return out.String(), nil
}

func asText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool:
		return strconv.FormatBool(v), nil
	}
	return "", fmt.Errorf("only texts, numbers and true or false can stand within a text")
}

// lookUp finds what a reference means.
func (in *Instance) lookUp(r topology.SagaReference) (any, error) {
	var from json.RawMessage
	switch r.Root {
	case "id":
		return in.ID, nil
	case "input":
		from = in.Input
	default:
		for i := range in.Def.Steps {
			if in.Def.Steps[i].Name == r.Step {
				from = in.Steps[i].Result
			}
		}
	}
	if len(from) == 0 {
		return nil, fmt.Errorf("${%s}: there is no answer of this step", r)
	}
	v, err := decode(from)
	if err != nil {
		return nil, fmt.Errorf("${%s}: %w", r, err)
	}
	for i, word := range r.Path {
		var ok bool
		switch have := v.(type) {
		case map[string]any:
			v, ok = have[word]
		case []any:
			n, err := strconv.Atoi(word)
			if ok = err == nil && n >= 0 && n < len(have); ok {
				v = have[n]
			}
		}
		if !ok {
			return nil, fmt.Errorf("${%s}: there is no %q", r, strings.Join(r.Path[:i+1], "."))
		}
	}
	return v, nil
}

// decode reads JSON and keeps numbers as they are written.
func decode(text json.RawMessage) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return v, d.Decode(&v)
}

// body fills in the references of a JSON text. A string that is one reference alone becomes the value itself.
func (in *Instance) body(text json.RawMessage) (json.RawMessage, error) {
	v, err := decode(text)
	if err != nil {
		return nil, err
	}
	if v, err = in.fill(v); err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

func (in *Instance) fill(v any) (_ any, err error) {
	switch v := v.(type) {
	case string:
		if parts, err := topology.ParseSagaText(v); err == nil && len(parts) == 1 && parts[0].Reference != nil {
			return in.lookUp(*parts[0].Reference)
		}
		return in.text(v, nil)
	case []any:
		for i := range v {
			if v[i], err = in.fill(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for key := range v {
			if v[key], err = in.fill(v[key]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}
