package schema

import "slices"

// Level of compatibility of a schema with the one before.
type Level string

// The levels.
const (
	None     Level = "none"     // anything
	Backward Level = "backward" // what was stored under the old one can be read by the new one
	Forward  Level = "forward"  // what is stored under the new one can be read by the old one
	Full     Level = "full"     // both
)

// Valid reports whether it is one of the levels.
func (l Level) Valid() bool { return slices.Contains([]Level{None, Backward, Forward, Full}, l) }

// Breaks says, for each place, why a new schema is not compatible with an old one; empty if it is. Properties that a JSON Schema
// does not name count as not used: that a new one names one more breaks nothing.
func Breaks(level Level, from, to *Schema) (reasons []string) {
	if level == None {
		return nil
	}
	if from.Format() != to.Format() {
		return []string{"the one before is of the format " + from.Format() + ", this one of the format " + to.Format()}
	}
	read := contains
	if from.proto != nil {
		read = readsProto
		reasons = numbersKept(from, to)
	}
	if level == Backward || level == Full {
		for _, r := range read(to, from) {
			reasons = append(reasons, "what was stored before can't be read: "+r)
		}
	}
	if level == Forward || level == Full {
		for _, r := range read(from, to) {
			reasons = append(reasons, "what is stored from now on can't be read by the old schema: "+r)
		}
	}
	return reasons
}
