package dynamo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/banyanhq/banyan/store/shard"
	"github.com/banyanhq/banyan/store/wire"
)

// decodeInto reads a whole request of an operation on tables, where speed does not matter.
func decodeInto(r *wire.Reader, v any) error {
	raw, err := r.Raw()
	if err != nil {
		return err
	}
	if err := r.End(); err != nil {
		return err
	}
	err = json.Unmarshal(raw, v)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		value := strings.ToUpper(wrong.Value) + "_VALUE"
		switch {
		case wrong.Value == "object":
			return &wire.SyntaxError{Message: "Start of structure or map found where not expected"}
		case wrong.Value == "array":
			return &wire.SyntaxError{Message: "Start of list found where not expected"}
		case strings.HasPrefix(wrong.Value, "number"):
			value = "NUMBER_VALUE"
		case wrong.Value == "bool":
			value = "TRUE_VALUE"
		}
		to := map[string]string{"string": "String", "int64": "Long", "bool": "Boolean"}[wrong.Type.String()]
		if to == "" {
			return &wire.SyntaxError{Message: "Unexpected field type"}
		}
		return &wire.SyntaxError{Message: value + " cannot be converted to " + to}
	}
	if err != nil {
		return &wire.SyntaxError{}
	}
	return nil
}

// Parameters of operations on tables, as they are on the wire.
type (
	attributeDefinition struct{ AttributeName, AttributeType *string }
	keyElement          struct{ AttributeName, KeyType *string }
	throughput          struct{ ReadCapacityUnits, WriteCapacityUnits *int64 }
	projectionSpec      struct {
		ProjectionType   *string
		NonKeyAttributes []string
	}
	indexSpec struct {
		IndexName             *string
		KeySchema             []keyElement
		Projection            *projectionSpec
		ProvisionedThroughput *throughput
	}
	streamSpec struct {
		StreamEnabled  *bool
		StreamViewType *string
	}
	tag         struct{ Key, Value *string }
	createInput struct {
		TableName                 *string
		AttributeDefinitions      []attributeDefinition
		KeySchema                 []keyElement
		LocalSecondaryIndexes     *[]indexSpec
		GlobalSecondaryIndexes    *[]indexSpec
		BillingMode               *string
		ProvisionedThroughput     *throughput
		StreamSpecification       *streamSpec
		Tags                      []tag
		DeletionProtectionEnabled *bool
		TableClass                *string
	}
	updateInput struct {
		TableName                   *string
		AttributeDefinitions        []attributeDefinition
		BillingMode                 *string
		ProvisionedThroughput       *throughput
		StreamSpecification         *streamSpec
		DeletionProtectionEnabled   *bool
		TableClass                  *string
		GlobalSecondaryIndexUpdates *[]struct {
			Create *indexSpec
			Update *indexSpec
			Delete *struct{ IndexName *string }
		}
		ReplicaUpdates json.RawMessage
	}
)

func asText(s *string) text {
	if s == nil {
		return text{}
	}
	return text{*s, true}
}

func value(s *string) string { return asText(s).s }

// named reads the parameter TableName, which may be an ARN, of a request that has no other.
func named(r *wire.Reader) (string, error) {
	var in struct{ TableName *string }
	if err := decodeInto(r, &in); err != nil {
		return "", err
	}
	return checkName(in.TableName)
}

func checkName(name *string) (string, error) {
	t := asText(name)
	t.s = tableName(t.s)
	var c constraints
	c.notNull(t.set, "tableName")
	c.name(t, "tableName")
	return t.s, c.err()
}

func (a *API) createTable(ctx context.Context, r *wire.Reader, out []byte) ([]byte, error) {
	var in createInput
	if err := decodeInto(r, &in); err != nil {
		return out, err
	}
	t, err := in.table(a.store.Now())
	if err != nil {
		return out, err
	}
	res, err := a.store.Define(ctx, t)
	if err != nil {
		return out, err
	}
	if res.Code == shard.Exists {
		return out, &Error{Code: "ResourceInUseException", Message: "Table already exists: " + t.Name}
	}
	if err := failed(res, t.Name); err != nil {
		return out, err
	}
	if t = a.store.Table(t.Name); t == nil {
		return out, noTable(value(in.TableName))
	}
	return a.appendDescription(append(out, `{"TableDescription":`...), t, "CREATING", true)
}

// Create creates a table by the JSON of a CreateTable, for those who have no client.
func (a *API) Create(ctx context.Context, body []byte) error {
	_, err := a.createTable(ctx, wire.NewReader(body), nil)
	return err
}

// BeginStream has a table keep its changes, with the items before and after, if it does not.
func (a *API) BeginStream(ctx context.Context, table string) error {
	if t := a.store.Table(table); t != nil && t.Stream() != nil {
		return nil
	}
	_, err := a.change(ctx, table, func(t *shard.Table) error {
		enabled, view := true, "NEW_AND_OLD_IMAGES"
		return (&streamSpec{StreamEnabled: &enabled, StreamViewType: &view}).apply(t, a.store.Now())
	})
	return err
}

// table checks the parameters and makes the description.
func (in *createInput) table(now int64) (*shard.Table, error) {
	var c constraints
	c.notNull(in.TableName != nil, "tableName")
	c.notNull(in.AttributeDefinitions != nil, "attributeDefinitions")
	c.notNull(in.KeySchema != nil, "keySchema")
	if in.TableName != nil && !validName(*in.TableName) {
		c.add(quoted(*in.TableName), "tableName", "Member must satisfy regular expression pattern: "+namePattern)
	}
	c.enum(asText(in.BillingMode), "billingMode", "[PROVISIONED, PAY_PER_REQUEST]")
	c.enum(asText(in.TableClass), "tableClass", "[STANDARD, STANDARD_INFREQUENT_ACCESS]")
	for i, d := range in.AttributeDefinitions {
		d.check(&c, i)
	}
	checkKeySchema(&c, in.KeySchema, "keySchema")
	for _, list := range []struct {
		at    string
		specs *[]indexSpec
	}{{"localSecondaryIndexes", in.LocalSecondaryIndexes}, {"globalSecondaryIndexes", in.GlobalSecondaryIndexes}} {
		if list.specs != nil {
			for i, x := range *list.specs {
				x.check(&c, fmt.Sprintf("%s.%d.member.", list.at, i+1))
			}
		}
	}
	in.ProvisionedThroughput.check(&c, "provisionedThroughput.")
	if err := c.err(); err != nil {
		return nil, err
	}
	if n := len(*in.TableName); n < 3 || n > 255 {
		return nil, invalidf("TableName must be at least 3 characters long and at most 255 characters long")
	}
	t := &shard.Table{Name: *in.TableName, UUID: uuid(), Created: now, Class: value(in.TableClass), OnDemand: value(in.BillingMode) == "PAY_PER_REQUEST"}
	if err := in.billing(t); err != nil {
		return nil, err
	}
	if err := in.ownKey(t); err != nil {
		return nil, err
	}
	if err := in.indexes(t); err != nil {
		return nil, err
	}
	if err := usedDefinitions(t); err != nil {
		return nil, err
	}
	t.Protected = in.DeletionProtectionEnabled != nil && *in.DeletionProtectionEnabled
	if s := in.StreamSpecification; s != nil {
		if err := s.apply(t, now); err != nil {
			return nil, err
		}
	}
	t.Tags = map[string]string{}
	return t, addTags(t, in.Tags)
}

// ownKey reads the table's own key.
func (in *createInput) ownKey(t *shard.Table) (err error) {
	t.Attributes = definitions(in.AttributeDefinitions)
	t.Key, err = key(in.KeySchema, t.Attributes)
	return err
}

func (in *createInput) billing(t *shard.Table) error {
	p := in.ProvisionedThroughput
	if t.OnDemand {
		if p != nil {
			return wrongf("Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST")
		}
		return nil
	}
	if p == nil {
		return wrongf("ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED")
	}
	t.Throughput = p.units()
	return nil
}

func (d attributeDefinition) check(c *constraints, i int) {
	at := fmt.Sprintf("attributeDefinitions.%d.member.", i+1)
	c.notNull(d.AttributeName != nil, at+"attributeName")
	c.notNull(d.AttributeType != nil, at+"attributeType")
	c.enum(asText(d.AttributeType), at+"attributeType", "[B, N, S]")
	if d.AttributeName != nil && *d.AttributeName == "" {
		c.add("''", at+"attributeName", "Member must have length greater than or equal to 1")
	}
}

func checkKeySchema(c *constraints, schema []keyElement, at string) {
	if schema == nil {
		return
	}
	if n := len(schema); n < 1 || n > 2 {
		word := "Member must have length greater than or equal to 1"
		if n > 2 {
			word = "Member must have length less than or equal to 2"
		}
		c.add("'[]'", at, word)
	}
	for i, e := range schema {
		at := fmt.Sprintf("%s.%d.member.", at, i+1)
		c.notNull(e.AttributeName != nil, at+"attributeName")
		c.notNull(e.KeyType != nil, at+"keyType")
		c.enum(asText(e.KeyType), at+"keyType", "[HASH, RANGE]")
	}
}

func (x *indexSpec) check(c *constraints, at string) {
	c.notNull(x.IndexName != nil, at+"indexName")
	c.name(asText(x.IndexName), at+"indexName")
	c.notNull(x.KeySchema != nil, at+"keySchema")
	checkKeySchema(c, x.KeySchema, at+"keySchema")
	c.notNull(x.Projection != nil, at+"projection")
	if x.Projection != nil {
		c.enum(asText(x.Projection.ProjectionType), at+"projection.projectionType", "[ALL, INCLUDE, KEYS_ONLY]")
	}
	x.ProvisionedThroughput.check(c, at+"provisionedThroughput.")
}

func (p *throughput) check(c *constraints, at string) {
	if p == nil {
		return
	}
	for name, n := range map[string]*int64{"readCapacityUnits": p.ReadCapacityUnits, "writeCapacityUnits": p.WriteCapacityUnits} {
		c.notNull(n != nil, at+name)
		if n != nil {
			c.atLeast(number{*n, true}, at+name, 1)
		}
	}
}

func (p *throughput) units() shard.Throughput {
	if p == nil {
		return shard.Throughput{}
	}
	return shard.Throughput{Read: *p.ReadCapacityUnits, Write: *p.WriteCapacityUnits}
}

func (s *streamSpec) apply(t *shard.Table, now int64) error {
	enabled := s.StreamEnabled != nil && *s.StreamEnabled
	var c constraints
	c.notNull(s.StreamEnabled != nil, "streamSpecification.streamEnabled")
	c.enum(asText(s.StreamViewType), "streamSpecification.streamViewType", "[NEW_IMAGE, OLD_IMAGE, NEW_AND_OLD_IMAGES, KEYS_ONLY]")
	if err := c.err(); err != nil {
		return err
	}
	running := t.Stream()
	switch {
	case enabled && s.StreamViewType == nil:
		return wrongf("StreamViewType is required when StreamEnabled is true")
	case !enabled && s.StreamViewType != nil:
		return wrongf("StreamViewType must not be specified when StreamEnabled is false")
	case enabled && running != nil:
		return invalidf("Table already has an enabled stream: TableName: %s", t.Name)
	case enabled:
		label := time.UnixMilli(now).UTC().Format("2006-01-02T15:04:05.000")
		t.Streams = append(t.Streams, shard.Stream{View: *s.StreamViewType, Label: label, Created: now})
	case running == nil && t.ID != 0:
		return invalidf("Table is already disabled: TableName: %s", t.Name)
	case running != nil:
		running.Ended = now
	}
	return nil
}

func (a *API) describeTable(_ context.Context, r *wire.Reader, out []byte) ([]byte, error) {
	name, err := named(r)
	if err != nil {
		return out, err
	}
	t := a.store.Table(name)
	if t == nil {
		return out, noTable(name)
	}
	return a.appendDescription(append(out, `{"Table":`...), t, "ACTIVE", true)
}

func (a *API) deleteTable(ctx context.Context, r *wire.Reader, out []byte) ([]byte, error) {
	name, err := named(r)
	if err != nil {
		return out, err
	}
	t := a.store.Table(name)
	if t == nil {
		return out, noTable(name)
	}
	if t.Protected {
		return out, invalidf("Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection first.")
	}
	if out, err = a.appendDescription(append(out, `{"TableDescription":`...), t, "DELETING", false); err != nil {
		return out, err
	}
	res, err := a.store.Drop(ctx, t)
	if err == nil {
		err = failed(res, name)
	}
	return out, err
}

func (a *API) listTables(_ context.Context, r *wire.Reader, out []byte) ([]byte, error) {
	var in struct {
		ExclusiveStartTableName *string
		Limit                   *int64
	}
	if err := decodeInto(r, &in); err != nil {
		return out, err
	}
	var c constraints
	limit := number{100, true}
	if in.Limit != nil {
		limit.n = *in.Limit
		c.atLeast(limit, "limit", 1)
		c.atMost(limit, "limit", 100)
	}
	c.name(asText(in.ExclusiveStartTableName), "exclusiveStartTableName")
	if err := c.err(); err != nil {
		return out, err
	}
	var names []string
	for _, t := range a.store.Tables() {
		if in.ExclusiveStartTableName == nil || t.Name > *in.ExclusiveStartTableName {
			names = append(names, t.Name)
		}
	}
	slices.Sort(names)
	last := ""
	if int64(len(names)) > limit.n {
		names = names[:limit.n]
		last = names[len(names)-1]
	}
	out = append(out, `{"TableNames":[`...)
	for i, name := range names {
		if i > 0 {
			out = append(out, ',')
		}
		out = wire.AppendString(out, name)
	}
	out = append(out, ']')
	if last != "" {
		out = wire.AppendString(append(out, `,"LastEvaluatedTableName":`...), last)
	}
	return append(out, '}'), nil
}

func uuid() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
