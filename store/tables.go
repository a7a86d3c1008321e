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
}

// FromFile are the embedded tables of a file, in order.
func FromFile(sys *topology.System) (all []Table) {
	for _, name := range slices.Sorted(maps.Keys(sys.Tables)) {
		if t := sys.Tables[name]; t.Engine == "embedded" {
			all = append(all, Table{Name: name, Key: t.Key})
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
	}
	return lines
}

// createTables creates the tables that are not there.
func (s *Store) createTables(ctx context.Context) error {
	for _, t := range s.cfg.Tables {
		if s.engine.Table(t.Name) != nil {
			continue
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
			err = s.api.Create(ctx, body)
		}
		var refused *dynamo.Error
		if errors.As(err, &refused) {
			return fmt.Errorf("creating table %s: %s", t.Name, refused.Message)
		}
		if err != nil {
			return fmt.Errorf("creating table %s: %w", t.Name, err)
		}
	}
	return nil
}
