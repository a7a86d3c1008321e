package dynamo

import (
	"slices"
	"strings"

	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/shard"
)

// Limits of a table (Developer Guide, "Quotas").
const (
	maxLocal  = 5
	maxGlobal = 20
	// maxProjected attributes that all indexes of a table name together.
	maxProjected = 100
)

func definitions(in []attributeDefinition) (all []shard.Attribute) {
	for _, d := range in {
		all = append(all, shard.Attribute{Name: *d.AttributeName, Kind: attr.KindOf(*d.AttributeType)})
	}
	return all
}

// key makes a key of its schema; the kinds are those of the definitions.
func key(schema []keyElement, defined []shard.Attribute) (k shard.Key, err error) {
	var names []string
	for _, e := range schema {
		names = append(names, *e.AttributeName)
	}
	kinds := make([]attr.Kind, len(schema))
	for i, name := range names {
		at := slices.IndexFunc(defined, func(a shard.Attribute) bool { return a.Name == name })
		if at < 0 {
			var all []string
			for _, d := range defined {
				all = append(all, d.Name)
			}
			return k, wrongf("Some index key attributes are not defined in AttributeDefinitions. Keys: [%s], AttributeDefinitions: [%s]",
				strings.Join(names, ", "), strings.Join(all, ", "))
		}
		kinds[i] = defined[at].Kind
	}
	if len(names) == 2 && names[0] == names[1] {
		return k, invalidf("Both the Hash Key and the Range Key element in the KeySchema have the same name")
	}
	if *schema[0].KeyType != "HASH" {
		return k, invalidf("Invalid KeySchema: The first KeySchemaElement is not a HASH key type")
	}
	if len(schema) == 2 && *schema[1].KeyType != "RANGE" {
		return k, invalidf("Invalid KeySchema: The second KeySchemaElement is not a RANGE key type")
	}
	k.Hash = shard.Attribute{Name: names[0], Kind: kinds[0]}
	if len(names) == 2 {
		k.Range = shard.Attribute{Name: names[1], Kind: kinds[1]}
	}
	return k, nil
}

// indexes reads the indexes of a new table.
func (in *createInput) indexes(t *shard.Table) error {
	if l := in.LocalSecondaryIndexes; l != nil {
		switch {
		case len(*l) == 0:
			return wrongf("List of LocalSecondaryIndexes is empty")
		case t.Key.Range.Kind == attr.None:
			return wrongf("Table KeySchema does not have a range key, which is required when specifying a LocalSecondaryIndex")
		}
		for i := range *l {
			if err := (*l)[i].add(t, true); err != nil {
				return err
			}
		}
		if len(*l) > maxLocal {
			return wrongf("Number of LocalSecondaryIndexes exceeds per-table limit of %d", maxLocal)
		}
	}
	if g := in.GlobalSecondaryIndexes; g != nil {
		if len(*g) == 0 {
			return wrongf("List of GlobalSecondaryIndexes is empty")
		}
		for i := range *g {
			if err := (*g)[i].add(t, false); err != nil {
				return err
			}
		}
		if len(*g) > maxGlobal {
			return wrongf("GlobalSecondaryIndex count exceeds the per-table limit of %d", maxGlobal)
		}
	}
	return nil
}

// add adds the index to a table.
func (x *indexSpec) add(t *shard.Table, local bool) error {
	k, err := key(x.KeySchema, t.Attributes)
	if err != nil {
		return err
	}
	name := *x.IndexName
	if local {
		if k.Range.Kind == attr.None {
			return wrongf("Index KeySchema does not have a range key for index: %s", name)
		}
		if k.Hash.Name != t.Key.Hash.Name {
			return wrongf("Index KeySchema does not have the same leading hash key as table KeySchema for index: %s. index hash key: %s, table hash key: %s",
				name, k.Hash.Name, t.Key.Hash.Name)
		}
	}
	p := x.Projection
	switch {
	case p.ProjectionType == nil:
		return wrongf("Unknown ProjectionType: null")
	case len(p.NonKeyAttributes) > 0 && *p.ProjectionType != "INCLUDE":
		return wrongf("ProjectionType is %s, but NonKeyAttributes is specified", *p.ProjectionType)
	case len(p.NonKeyAttributes) == 0 && *p.ProjectionType == "INCLUDE":
		return wrongf("ProjectionType is INCLUDE, but NonKeyAttributes is not specified")
	case t.Index(name) != nil:
		return wrongf("Duplicate index name: %s", name)
	}
	if !local {
		switch {
		case t.OnDemand && x.ProvisionedThroughput != nil:
			return wrongf("ProvisionedThroughput should not be specified for index: %s when BillingMode is PAY_PER_REQUEST", name)
		case !t.OnDemand && x.ProvisionedThroughput == nil:
			return wrongf("ProvisionedThroughput must be specified for index: %s", name)
		}
	}
	t.Indexes = append(t.Indexes, shard.Index{Name: name, Local: local, Key: k, Projection: *p.ProjectionType, Include: p.NonKeyAttributes,
		Throughput: x.ProvisionedThroughput.units()})
	n := 0
	for _, x := range t.Indexes {
		n += len(x.Include)
	}
	if n > maxProjected {
		return wrongf("Number of attributes in all the NonKeyAttributes exceeds limit of %d", maxProjected)
	}
	return nil
}

// usedDefinitions refuses attributes that are defined and are no keys.
func usedDefinitions(t *shard.Table) error {
	seen := map[string]bool{}
	for _, d := range t.Attributes {
		if seen[d.Name] {
			return wrongf("Cannot have two attributes with the same name: %s", d.Name)
		}
		seen[d.Name] = true
		used := t.Key.Has(d.Name)
		for _, x := range t.Indexes {
			used = used || x.Key.Has(d.Name)
		}
		if used {
			continue
		}
		if len(t.Indexes) == 0 {
			return wrongf("Number of attributes in KeySchema does not exactly match number of attributes defined in AttributeDefinitions")
		}
		return wrongf("Some AttributeDefinitions are not used. AttributeDefinitions: [%s], keys used: [%s]", names(t.Attributes), names(usedKeys(t)))
	}
	return nil
}

func usedKeys(t *shard.Table) (all []shard.Attribute) {
	keys := []shard.Key{t.Key}
	for _, x := range t.Indexes {
		keys = append(keys, x.Key)
	}
	for _, k := range keys {
		for _, a := range keyAttributes(k) {
			if !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	return all
}

func names(all []shard.Attribute) string {
	var out []string
	for _, a := range all {
		out = append(out, a.Name)
	}
	return strings.Join(out, ", ")
}
