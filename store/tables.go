package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/banyanhq/banyan/store/dynamo"
	"github.com/banyanhq/banyan/topology"
)

// Table that is created at start, on demand and with attributes of strings.
type Table struct {
	Name string
	// Key is the partition key, or the partition key and the sort key.
	Key []string
	// Stream has the table keep its changes for a day.
	Stream bool
}

// FromFile are the embedded tables of a file, in order.
func FromFile(sys *topology.System) (all []Table) {
	streams := map[string]bool{}
	for _, t := range sys.Topics {
		if t.From != nil {
			streams[t.From.Table] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sys.Tables)) {
		if t := sys.Tables[name]; t.Engine == "embedded" {
			all = append(all, Table{Name: name, Key: t.Key, Stream: streams[name]})
		}
	}
	return all
}

// Unsupported says what of the embedded tables of a file is not built yet, a line for each table; they run as strong tables on one
// node.
func Unsupported(sys *topology.System) (lines []string) {
	for _, name := range slices.Sorted(maps.Keys(sys.Tables)) {
		t := sys.Tables[name]
		if t.Engine != "embedded" {
			continue
		}
		if t.Consistency == "eventual" {
			lines = append(lines, "tables."+name+": consistency eventual is not built yet: it runs as strong")
		}
		if t.Replicas > 1 {
			lines = append(lines, fmt.Sprintf("tables.%s: replicas %d are not built yet: it runs as one, on this node", name, t.Replicas))
		}
		if t.CPU > 0 {
			lines = append(lines, "tables."+name+": cpu is for planning: it runs inside of this process, without a limit")
		}
	}
	return lines
}

// createTables creates the tables that are not there.
func (s *Store) createTables(ctx context.Context) error {
	for _, t := range s.cfg.Tables {
		if err := s.createTable(ctx, t); err != nil {
			return err
		}
		if t.Stream {
			if err := s.api.BeginStream(ctx, t.Name); err != nil {
				return fmt.Errorf("beginning the stream of table %s: %w", t.Name, err)
			}
		}
	}
	return nil
}

// createTable creates a table if it is not there.
func (s *Store) createTable(ctx context.Context, t Table) error {
	if there := s.engine.Table(t.Name); there != nil {
		if names := there.Key.Names(); !slices.Equal(names, t.Key) {
			return fmt.Errorf("table %s has the key %s in %s, and another one is asked for, %s: delete the table, or name another",
				t.Name, names, s.cfg.Dir, t.Key)
		}
		return nil
	}
	type element struct{ AttributeName, KeyType string }
	type definition struct{ AttributeName, AttributeType string }
	in := struct {
		TableName, BillingMode string
		KeySchema              []element
		AttributeDefinitions   []definition
	}{TableName: t.Name, BillingMode: "PAY_PER_REQUEST"}
	for i, name := range t.Key {
		in.KeySchema = append(in.KeySchema, element{name, []string{"HASH", "RANGE"}[i]})
		in.AttributeDefinitions = append(in.AttributeDefinitions, definition{name, "S"})
	}
	body, err := json.Marshal(in)
	if err == nil {
		err = s.create(ctx, body)
	}
	if err != nil {
		return fmt.Errorf("creating table %s: %w", t.Name, err)
	}
	return nil
}

// create creates a table. It waits for a cluster that has no leader yet, and takes it well that another node was quicker.
func (s *Store) create(ctx context.Context, body []byte) error {
	for {
		err := s.api.Create(ctx, body)
		var refused *dynamo.Error
		switch {
		case s.engine.Unavailable(err) && ctx.Err() == nil:
			continue // it has waited for a leader
		case !errors.As(err, &refused):
			return err
		case s.cfg.Cluster != nil && refused.Code == "ResourceInUseException":
			return nil
		default:
			return errors.New(refused.Message)
		}
	}
}

// Change of one item.
type Change = dynamo.Change

// Changes returns up to limit changes of a table behind a sequence number, oldest first. They are kept for a day.
func (s *Store) Changes(ctx context.Context, table string, behind uint64, limit int) ([]Change, error) {
	return s.api.Changes(ctx, table, behind, limit)
}
