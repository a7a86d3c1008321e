package topology

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// SagaReference is a value that a saga knows: its id, what it was started with, or what a step was answered.
type SagaReference struct {
	// Root is id, input or steps.
	Root string
	// Step whose answer is meant, where the root is steps.
	Step string
	// Path of fields, and of indices of lists, that leads to the value.
	Path []string
}

func (r SagaReference) String() string {
	words := []string{r.Root}
	if r.Root == "steps" {
		words = append(words, r.Step)
	}
	return strings.Join(append(words, r.Path...), ".")
}

// SagaTextPart is a piece of a text: as it stands, or a reference.
type SagaTextPart struct {
	Text      string
	Reference *SagaReference
}

const (
	maxReferences = 64
	maxReference  = 256 // bytes
)

var referenceWord = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// ParseSagaText takes a text apart at its references ${...}; $${ stands for ${ itself.
func ParseSagaText(text string) ([]SagaTextPart, error) {
	var parts []SagaTextPart
	var plain strings.Builder
	flush := func() {
		if plain.Len() > 0 {
			parts = append(parts, SagaTextPart{Text: plain.String()})
			plain.Reset()
		}
	}
	for rest := text; rest != ""; {
		before, after, found := strings.Cut(rest, "${")
		if !found {
			plain.WriteString(rest)
			break
		}
		if escaped, ok := strings.CutSuffix(before, "$"); ok {
			plain.WriteString(escaped + "${")
			rest = after
			continue
		}
		plain.WriteString(before)
		name, following, closed := strings.Cut(after, "}")
		if !closed {
			return nil, errors.New("a reference begins with ${ and does not end with }")
		}
		r, err := parseReference(name)
		if err != nil {
			return nil, err
		}
		flush()
		if parts = append(parts, SagaTextPart{Reference: &r}); len(parts) > maxReferences {
			return nil, fmt.Errorf("more than %d parts", maxReferences)
		}
		rest = following
	}
	flush()
	return parts, nil
}

func parseReference(name string) (r SagaReference, err error) {
	words := strings.Split(name, ".")
	if len(name) > maxReference {
		return r, fmt.Errorf("the reference ${%.40s...} is longer than %d bytes", name, maxReference)
	}
	for _, w := range words {
		if !referenceWord.MatchString(w) {
			return r, fmt.Errorf("the reference ${%s}: want words of letters, digits, _ and - with dots between", name)
		}
	}
	r = SagaReference{Root: words[0], Path: words[1:]}
	switch {
	case r.Root == "id" && len(words) == 1, r.Root == "input":
	case r.Root == "steps" && len(words) > 1:
		r.Step, r.Path = words[1], words[2:]
	default:
		return r, fmt.Errorf("the reference ${%s}: want id, input, input.FIELD, steps.NAME or steps.NAME.FIELD", name)
	}
	return r, nil
}
