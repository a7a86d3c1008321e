package topology

import "encoding/json"

// Every unit is written as text in YAML, JSON and flags, and read back by its Parse function; JSON may also hold a
// plain number where a bare number is understood. As encoding.TextMarshaler and TextUnmarshaler they serve YAML and
// JSON encoders and flag.TextVar alike.

// MarshalText writes d as String does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads d as ParseDuration does.
func (d *Duration) UnmarshalText(text []byte) error { return parseInto(d, string(text), ParseDuration) }

// MarshalYAML writes d as String does.
func (d Duration) MarshalYAML() (any, error) { return d.String(), nil }

// UnmarshalJSON reads a string, or the number 0.
func (d *Duration) UnmarshalJSON(data []byte) error { return parseJSON(d, data, ParseDuration) }

// MarshalText writes b as String does.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText reads b as ParseBytes does.
func (b *Bytes) UnmarshalText(text []byte) error { return parseInto(b, string(text), ParseBytes) }

// MarshalYAML writes b as String does.
func (b Bytes) MarshalYAML() (any, error) { return b.String(), nil }

// UnmarshalJSON reads a string, or a number of bytes.
func (b *Bytes) UnmarshalJSON(data []byte) error { return parseJSON(b, data, ParseBytes) }

// MarshalText writes p as String does.
func (p Percent) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads p as ParsePercent does.
func (p *Percent) UnmarshalText(text []byte) error { return parseInto(p, string(text), ParsePercent) }

// MarshalYAML writes p as String does.
func (p Percent) MarshalYAML() (any, error) { return p.String(), nil }

// UnmarshalJSON reads a string, or a fraction.
func (p *Percent) UnmarshalJSON(data []byte) error { return parseJSON(p, data, ParsePercent) }

// MarshalText writes r as String does.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads r as ParseRate does.
func (r *Rate) UnmarshalText(text []byte) error { return parseInto(r, string(text), ParseRate) }

// MarshalYAML writes r as String does.
func (r Rate) MarshalYAML() (any, error) { return r.String(), nil }

// UnmarshalJSON reads a string, or the number 0.
func (r *Rate) UnmarshalJSON(data []byte) error { return parseJSON(r, data, ParseRate) }

// MarshalText writes c as String does.
func (c CPU) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads c as ParseCPU does.
func (c *CPU) UnmarshalText(text []byte) error { return parseInto(c, string(text), ParseCPU) }

// MarshalYAML writes c as String does.
func (c CPU) MarshalYAML() (any, error) { return c.String(), nil }

// UnmarshalJSON reads a string, or a number of cores.
func (c *CPU) UnmarshalJSON(data []byte) error { return parseJSON(c, data, ParseCPU) }

// MarshalText writes g as String does.
func (g GrowthRate) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText reads g as ParseGrowthRate does.
func (g *GrowthRate) UnmarshalText(text []byte) error {
	return parseInto(g, string(text), ParseGrowthRate)
}

// MarshalYAML writes g as String does.
func (g GrowthRate) MarshalYAML() (any, error) { return g.String(), nil }

// UnmarshalJSON reads a string, or the number 0.
func (g *GrowthRate) UnmarshalJSON(data []byte) error { return parseJSON(g, data, ParseGrowthRate) }

func parseInto[T any](to *T, text string, parse func(string) (T, error)) error {
	v, err := parse(text)
	if err == nil {
		*to = v
	}
	return err
}

func parseJSON[T any](to *T, data []byte, parse func(string) (T, error)) error {
	text := string(data)
	if text == "null" {
		return nil
	}
	if len(data) > 0 && data[0] == '"' {
		if err := json.Unmarshal(data, &text); err != nil {
			return err
		}
	}
	return parseInto(to, text, parse)
}
