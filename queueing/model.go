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
}

// modelKinds are all kinds, a longer name of the same kind after the short one.
func modelKinds() []modelKind {
	bounds := func(method string) func() modelInputs {
		return func() modelInputs { return &boundsInputs{method: method} }
	}
	station := func(model string) func() modelInputs {
		return func() modelInputs { return &stationInputs{model: model} }
	}
	network := func(kind string) func() modelInputs {
		return func() modelInputs { return &networkInputs{kind: kind} }
	}
	return []modelKind{
		{"M/M/1", station("M/M/1")},
		{"M/M/c", station("M/M/c")},
		{"M/M/c/K", station("M/M/c/K")},
		{"M/M/c//N", station("M/M/c//N")},
		{"M/M/c//N (finite source)", station("M/M/c//N")},
		{"M/G/1", station("M/G/1")},
		{"M/G/1-PS", station("M/G/1-PS")},
		{"M/G/c", station("GI/G/c")},
		{"GI/G/c", station("GI/G/c")},
		{"M/M/1 tail probabilities", station("M/M/c")},
		{"M/M/c tail probabilities", station("M/M/c")},
		{"Erlang loss", station("Erlang loss")},
		{"M/M/1 priority non-preemptive", func() modelInputs { return &priorityInputs{} }},
		{"M/M/1 priority preemptive-resume", func() modelInputs { return &priorityInputs{preemptive: true} }},
		{"open network single class", network("open1")},
		{"open network multi-class", network("open")},
		{"closed single-class exact MVA", network("closed1")},
		{"closed multi-class exact MVA", network("closed")},
		{"closed network approximate MVA", network("approximate")},
		{"mixed network", network("mixed")},
		{"asymptotic bounds", bounds("asymptotic")},
		{"balanced job bounds", bounds("balanced job")},
		{"proportional bounds (Hsieh-Lam)", bounds("proportional")},
		{"geometric bounds (Casale-Muntz-Serazzi)", bounds("geometric")},
		{"closed network with blocking-after-service (finite buffers), MVABLO approx", func() modelInputs { return &blockingInputs{} }},
		{"closed network with blocking, exact Markov", func() modelInputs { return &blockingInputs{exact: true} }},
		{"fork-join closed network", func() modelInputs { return &forkJoinInputs{} }},
		{"LQN", func() modelInputs { return &lqnInputs{} }},
		{"polling queue mean waits", func() modelInputs { return &pollingInputs{} }},
		{"USL fit (3-parameter least squares)", func() modelInputs { return &uslFitInputs{method: USLLeastSquares} }},
		{"USL fit (Gunther's quadratic)", func() modelInputs { return &uslFitInputs{method: USLQuadratic} }},
		{"USL evaluation", func() modelInputs { return &uslInputs{} }},
		{"cache hit ratio", func() modelInputs { return &cacheInputs{} }},
	}
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
	if err := strict(raw, &doc); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if doc.Kind == "" {
		return nil, errors.New("model: field kind is missing")
	}
	kinds := modelKinds()
	i := slices.IndexFunc(kinds, func(k modelKind) bool { return strings.EqualFold(k.name, doc.Kind) })
	if i < 0 {
		return nil, fmt.Errorf("model: unknown kind %q; have: %s", doc.Kind, strings.Join(Kinds(), "; "))
	}
	if len(doc.Inputs) == 0 {
		return nil, fmt.Errorf("model: kind %s: field inputs is missing", doc.Kind)
	}
	in := kinds[i].make()
	if err := strict(doc.Inputs, in); err != nil {
		return nil, fmt.Errorf("model: kind %s: inputs: %w", doc.Kind, err)
	}
	return &Model{Kind: kinds[i].name, Name: doc.Name, inputs: in}, nil
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
