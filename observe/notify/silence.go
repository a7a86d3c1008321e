package notify

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/banyanhq/banyan/atomicfile"
)

// Matcher of a silence, as in Alertmanager's API.
type Matcher struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	IsRegex bool   `json:"isRegex"`
	// IsEqual false turns it round; left out it is true.
	IsEqual *bool `json:"isEqual,omitempty"`
}

func (m Matcher) compile() (*labels.Matcher, error) {
	kind := labels.MatchEqual
	equal := m.IsEqual == nil || *m.IsEqual
	switch {
	case m.IsRegex && equal:
		kind = labels.MatchRegexp
	case m.IsRegex:
		kind = labels.MatchNotRegexp
	case !equal:
		kind = labels.MatchNotEqual
	}
	return labels.NewMatcher(kind, m.Name, m.Value)
}

// Silence mutes the alerts that all of its matchers meet, from its start to its end.
type Silence struct {
	ID        string    `json:"id,omitempty"`
	Matchers  []Matcher `json:"matchers"`
	StartsAt  time.Time `json:"startsAt"`
	EndsAt    time.Time `json:"endsAt"`
	CreatedBy string    `json:"createdBy"`
	Comment   string    `json:"comment"`
	UpdatedAt time.Time `json:"updatedAt,omitzero"`
}

// State of a silence: pending, active or expired.
func (s Silence) State(now time.Time) string {
	switch {
	case now.Before(s.StartsAt):
		return "pending"
	case now.Before(s.EndsAt):
		return "active"
	}
	return "expired"
}

// Bounds of silences.
const (
	maxSilences  = 1000
	maxMatchers  = 50
	maxText      = 4096
	keepSilences = 5 * 24 * time.Hour // after they expired
)

// Silences are kept in a file. Their methods may be called from several goroutines at once.
type Silences struct {
	path string

	mu       sync.Mutex
	all      map[string]Silence
	compiled map[string][]*labels.Matcher
}

// ErrNoSilence says that there is no silence of an id.
var ErrNoSilence = errors.New("there is no such silence")

// OpenSilences reads the silences of a file, which may be missing. Without a path they are kept in memory alone.
func OpenSilences(path string) (*Silences, error) {
	s := &Silences{path: path, all: map[string]Silence{}, compiled: map[string][]*labels.Matcher{}}
	if path == "" {
		return s, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	var list []Silence
	if err == nil {
		err = json.Unmarshal(data, &list)
	}
	for _, one := range list {
		if err == nil {
			err = s.put(one)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading the silences in %s: %w", path, err)
	}
	return s, nil
}

// check says what is wrong with a silence.
func (s *Silence) check() error {
	switch {
	case len(s.Matchers) == 0 || len(s.Matchers) > maxMatchers:
		return fmt.Errorf("%d matchers: want 1 to %d", len(s.Matchers), maxMatchers)
	case !s.EndsAt.After(s.StartsAt):
		return errors.New("it ends before it begins")
	case len(s.Comment) > maxText || len(s.CreatedBy) > maxText:
		return fmt.Errorf("a comment or name of more than %d bytes", maxText)
	}
	narrow := false
	for _, m := range s.Matchers {
		if m.Name == "" || len(m.Name)+len(m.Value) > maxText {
			return fmt.Errorf("a matcher without a name, or of more than %d bytes", maxText)
		}
		c, err := m.compile()
		if err != nil {
			return fmt.Errorf("matcher %s: %w", m.Name, err)
		}
		narrow = narrow || !c.Matches("")
	}
	if !narrow {
		return errors.New("every alert would be silenced: at least one matcher must not match the empty value")
	}
	return nil
}

// put takes a silence into memory. The caller holds mu, or is alone.
func (s *Silences) put(one Silence) error {
	if err := one.check(); err != nil {
		return err
	}
	var compiled []*labels.Matcher
	for _, m := range one.Matchers {
		c, err := m.compile()
		if err != nil {
			return err
		}
		compiled = append(compiled, c)
	}
	s.all[one.ID], s.compiled[one.ID] = one, compiled
	return nil
}

// Set adds a silence, or changes the one of its id, and returns its id. One that begins in the past begins now.
func (s *Silences) Set(one Silence, now time.Time) (id string, err error) {
	if one.StartsAt.Before(now) {
		one.StartsAt = now
	}
	one.UpdatedAt = now
	s.mu.Lock()
	defer s.mu.Unlock()
	s.purge(now)
	before, known := s.all[one.ID]
	switch {
	case one.ID != "" && !known:
		return "", fmt.Errorf("%w: %s", ErrNoSilence, one.ID)
	case one.ID == "" && len(s.all) >= maxSilences:
		return "", fmt.Errorf("there are %d silences already", len(s.all))
	case one.ID == "":
		one.ID = rand.Text()
	}
	beforeMatchers := s.compiled[one.ID]
	if err := s.put(one); err != nil {
		return "", fmt.Errorf("the silence: %w", err)
	}
	if err := s.save(); err != nil {
		if delete(s.all, one.ID); known {
			s.all[one.ID], s.compiled[one.ID] = before, beforeMatchers
		}
		return "", err
	}
	return one.ID, nil
}

// Expire ends a silence now.
func (s *Silences) Expire(id string, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.all[id]
	if !ok {
		return fmt.Errorf("%w: %s", ErrNoSilence, id)
	}
	if !one.EndsAt.After(now) {
		return nil
	}
	before := one
	one.EndsAt, one.UpdatedAt = now, now
	s.all[id] = one
	if err := s.save(); err != nil {
		s.all[id] = before
		return err
	}
	return nil
}

// purge forgets silences that expired long ago. The caller holds mu.
func (s *Silences) purge(now time.Time) {
	for id, one := range s.all {
		if now.Sub(one.EndsAt) > keepSilences {
			delete(s.all, id)
			delete(s.compiled, id)
		}
	}
}

// save replaces the file as a whole. The caller holds mu.
func (s *Silences) save() error {
	if s.path == "" {
		return nil
	}
	data, err := json.MarshalIndent(s.sorted(), "", "  ")
	if err != nil {
		return fmt.Errorf("saving the silences: %w", err)
	}
	if err := atomicfile.Replace(s.path, data, 0o600); err != nil {
		return fmt.Errorf("saving the silences: %w", err)
	}
	return nil
}

func (s *Silences) sorted() []Silence {
	all := []Silence{}
	for _, one := range s.all {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b Silence) int { return cmp.Or(a.EndsAt.Compare(b.EndsAt), cmp.Compare(a.ID, b.ID)) })
	return all
}

// List returns all silences, those that end first first.
func (s *Silences) List() []Silence {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sorted()
}

// Get returns one.
func (s *Silences) Get(id string) (Silence, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.all[id]
	if !ok {
		return one, fmt.Errorf("%w: %s", ErrNoSilence, id)
	}
	return one, nil
}

// By returns the ids of the silences that mute an alert at an instant.
func (s *Silences) By(l labels.Labels, now time.Time) (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, one := range s.all {
		if one.State(now) != "active" {
			continue
		}
		if !slices.ContainsFunc(s.compiled[id], func(m *labels.Matcher) bool { return !m.Matches(l.Get(m.Name)) }) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
