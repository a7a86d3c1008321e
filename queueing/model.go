package queueing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// maxModelBytes bounds a model document.
const maxModelBytes = 4 << 20

// Model is a problem stated as a JSON document:
//
//	{"kind": "M/M/c", "name": "bank", "inputs": {"lam": 3, "mu": 1, "c": 4}}
//
// Kinds lists the kinds; Examples has a document of each. Fields that a kind does
// not know are errors. The fields note, origin, expected, tol and tol_rel are
// allowed beside inputs and not read, so that published cases can be kept as
// they are.
type Model struct {
	Kind string
	Name string

	inputs modelInputs
}

// modelInputs is the decoded inputs of one kind.
type modelInputs interface {
	solve(r *Report) error
}

type modelDocument struct {
	Kind     string          `json:"kind"`
	Name     string          `json:"name"`
	Inputs   json.RawMessage `json:"inputs"`
	Note     json.RawMessage `json:"note"`
	Origin   json.RawMessage `json:"origin"`
	Expected json.RawMessage `json:"expected"`
	Tol      json.RawMessage `json:"tol"`
	TolRel   json.RawMessage `json:"tol_rel"`
	Tools    json.RawMessage `json:"tools"`
}

// modelKind ties a kind to its inputs; parameters of the kind's own are set by make.
type modelKind struct {
	name string
	make func() modelInputs
	// fields are the inputs of the kind where it shares its struct with others; empty: all of the struct.
	fields []string
}

// modelKinds are all kinds, a longer name of the same kind after the short one.
func modelKinds() []modelKind {
	bounds := func(method string) func() modelInputs {
		return func() modelInputs { return &boundsInputs{method: method} }
	}
	network := func(kind string) func() modelInputs {
		return func() modelInputs { return &networkInputs{kind: kind} }
	}
	return append(stationKinds(), append([]modelKind{
		{name: "M/M/1 priority non-preemptive", make: func() modelInputs { return &priorityInputs{} }},
		{name: "M/M/1 priority preemptive-resume", make: func() modelInputs { return &priorityInputs{preemptive: true} }},
		{name: "open network single class", make: network("open1")},
		{name: "open network multi-class", make: network("open")},
		{name: "closed single-class exact MVA", make: network("closed1")},
		{name: "closed multi-class exact MVA", make: network("closed")},
		{name: "closed network approximate MVA", make: network("approximate")},
		{name: "mixed network", make: network("mixed")},
		{name: "asymptotic bounds", make: bounds("asymptotic")},
		{name: "balanced job bounds", make: bounds("balanced job")},
		{name: "proportional bounds (Hsieh-Lam)", make: bounds("proportional")},
		{name: "geometric bounds (Casale-Muntz-Serazzi)", make: bounds("geometric")},
		{name: "closed network with blocking-after-service (finite buffers), MVABLO approx", make: func() modelInputs { return &blockingInputs{} }},
		{name: "closed network with blocking, exact Markov", make: func() modelInputs { return &blockingInputs{exact: true} }},
		{name: "fork-join closed network", make: func() modelInputs { return &forkJoinInputs{} }},
		{name: "LQN", make: func() modelInputs { return &lqnInputs{} }},
		{name: "polling queue mean waits", make: func() modelInputs { return &pollingInputs{} }},
		{name: "USL fit (3-parameter least squares)", make: func() modelInputs { return &uslFitInputs{method: USLLeastSquares} }},
		{name: "USL fit (Gunther's quadratic)", make: func() modelInputs { return &uslFitInputs{method: USLQuadratic} }},
		{name: "USL evaluation", make: func() modelInputs { return &uslInputs{} }},
		{name: "cache hit ratio", make: func() modelInputs { return &cacheInputs{} }},
	}, classicKinds()...)...)
}

// Kinds lists the kinds of model that ParseModel knows.
func Kinds() []string {
	var names []string
	for _, k := range modelKinds() {
		names = append(names, k.name)
	}
	return names
}

// ParseModel reads one model document, at most 4 MiB. Errors name the field.
func ParseModel(r io.Reader) (*Model, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxModelBytes+1))
	if err != nil {
		return nil, fmt.Errorf("model: reading: %w", err)
	}
	if len(raw) > maxModelBytes {
		return nil, fmt.Errorf("model: more than %d bytes", maxModelBytes)
	}
	var doc modelDocument
	if err := checkFields(raw, fieldsOf(&doc)); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if err := strict(raw, &doc); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if doc.Kind == "" {
		return nil, errors.New("model: field kind is missing")
	}
	kinds := modelKinds()
	i := findKind(kinds, doc.Kind)
	if i < 0 {
		if near := nearest(doc.Kind, Kinds()); near != "" {
			return nil, fmt.Errorf("model: unknown kind %q; did you mean %q? 'banyan queueing --help' shows all", doc.Kind, near)
		}
		return nil, fmt.Errorf("model: unknown kind %q; have: %s", doc.Kind, strings.Join(Kinds(), "; "))
	}
	if len(doc.Inputs) == 0 {
		return nil, fmt.Errorf("model: kind %s: field inputs is missing", doc.Kind)
	}
	if nullInList(doc.Inputs) { // it would be read as zero
		return nil, fmt.Errorf("model: kind %s: inputs: null in a list; give a number", doc.Kind)
	}
	in := kinds[i].make()
	known := kinds[i].fields
	if known == nil {
		known = fieldsOf(in)
	}
	if len(known) > 0 { // layered models read their fields themselves
		if err := checkFields(doc.Inputs, known); err != nil {
			return nil, fmt.Errorf("model: kind %s: inputs: %w", doc.Kind, err)
		}
	}
	if err := strict(doc.Inputs, in); err != nil {
		return nil, fmt.Errorf("model: kind %s: inputs: %w", doc.Kind, err)
	}
	return &Model{Kind: kinds[i].name, Name: doc.Name, inputs: in}, nil
}

// nullInList says whether a list of a JSON value holds a null.
func nullInList(raw []byte) bool {
	d := json.NewDecoder(bytes.NewReader(raw))
	var lists []bool // for each open bracket whether it is a list's
	for {
		t, err := d.Token()
		if err != nil {
			return false // the end, or what the decoding proper reports
		}
		switch t {
		case json.Delim('['), json.Delim('{'):
			lists = append(lists, t == json.Delim('['))
		case json.Delim(']'), json.Delim('}'):
			lists = lists[:len(lists)-1]
		case nil:
			if len(lists) > 0 && lists[len(lists)-1] {
				return true
			}
		}
	}
}

// strict decodes one JSON value without unknown fields or anything after it.
func strict(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the JSON value")
	}
	return nil
}

// Solve solves the model.
func (m *Model) Solve() (*Report, error) {
	if m == nil || m.inputs == nil {
		return nil, errors.New("model: empty; use ParseModel")
	}
	r := &Report{Kind: m.Kind, Name: m.Name}
	if err := m.inputs.solve(r); err != nil {
		return nil, fmt.Errorf("%s: %w", m.Kind, err)
	}
	return r, nil
}

// need reports inputs that were not given.
func need(given map[string]bool) error {
	var missing []string
	for name, ok := range given {
		if !ok {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return fmt.Errorf("inputs: missing %s", strings.Join(missing, ", "))
}

// numbers is a JSON number or list of numbers.
type numbers []float64

func (n *numbers) UnmarshalJSON(raw []byte) error {
	var one float64
	if json.Unmarshal(raw, &one) == nil && string(bytes.TrimSpace(raw)) != "null" {
		*n = numbers{one}
		return nil
	}
	return json.Unmarshal(raw, (*[]float64)(n))
}

// table is a JSON list of numbers (one class) or list of such lists.
type table [][]float64

func (t *table) UnmarshalJSON(raw []byte) error {
	var one []float64
	if json.Unmarshal(raw, &one) == nil && one != nil {
		*t = table{one}
		return nil
	}
	return json.Unmarshal(raw, (*[][]float64)(t))
}

// routing is one routing matrix or one for each class.
type routing [][][]float64

func (p *routing) UnmarshalJSON(raw []byte) error {
	var one [][]float64
	if json.Unmarshal(raw, &one) == nil && one != nil {
		*p = routing{one}
		return nil
	}
	return json.Unmarshal(raw, (*[][][]float64)(p))
}
