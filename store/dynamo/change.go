package dynamo

import (
	"context"
	"slices"

	"github.com/banyanhq/banyan/store/shard"
	"github.com/banyanhq/banyan/store/wire"
)

// change replaces a table's description by what f makes of a copy.
func (a *API) change(ctx context.Context, name string, f func(t *shard.Table) error) (*shard.Table, error) {
	for {
		t := a.store.Table(name)
		if t == nil {
			return nil, noTable(name)
		}
		t = t.Clone()
		if err := f(t); err != nil {
			return nil, err
		}
		res, err := a.store.Define(ctx, t)
		switch {
		case err != nil:
			return nil, err
		case res.Code == shard.Stale: // the table changed meanwhile
			continue
		}
		if err := failed(res, name); err != nil {
			return nil, err
		}
		if t = a.store.Table(name); t == nil {
			return nil, noTable(name)
		}
		return t, nil
	}
}

func (a *API) updateTable(ctx context.Context, r *wire.Reader, out []byte) ([]byte, error) {
	var in updateInput
	if err := decodeInto(r, &in); err != nil {
		return out, err
	}
	name, err := checkName(in.TableName)
	if err != nil {
		return out, err
	}
	if err := in.check(); err != nil {
		return out, err
	}
	t, err := a.change(ctx, name, func(t *shard.Table) error { return in.apply(t, a.store.Now()) })
	if err != nil {
		return out, err
	}
	return a.appendDescription(append(out, `{"TableDescription":`...), t, "UPDATING", true)
}

func (in *updateInput) check() error {
	var c constraints
	c.enum(asText(in.BillingMode), "billingMode", "[PROVISIONED, PAY_PER_REQUEST]")
	c.enum(asText(in.TableClass), "tableClass", "[STANDARD, STANDARD_INFREQUENT_ACCESS]")
	for i, d := range in.AttributeDefinitions {
		d.check(&c, i)
	}
	in.ProvisionedThroughput.check(&c, "provisionedThroughput.")
	if err := c.err(); err != nil {
		return err
	}
	if len(in.ReplicaUpdates) > 0 {
		return invalidf("ReplicaUpdates: global tables are not supported by these tables")
	}
	if in.BillingMode == nil && in.ProvisionedThroughput == nil && in.StreamSpecification == nil && in.DeletionProtectionEnabled == nil &&
		in.TableClass == nil && in.GlobalSecondaryIndexUpdates == nil {
		return invalidf("At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, GlobalSecondaryIndexUpdates or SSESpecification or ReplicaUpdates is required")
	}
	return nil
}

func (in *updateInput) apply(t *shard.Table, now int64) error {
	if mode := value(in.BillingMode); mode != "" {
		t.OnDemand = mode == "PAY_PER_REQUEST"
		if !t.OnDemand && in.ProvisionedThroughput == nil {
			return wrongf("ProvisionedThroughput must be specified when BillingMode is PROVISIONED")
		}
		if t.OnDemand {
			t.Throughput = shard.Throughput{}
		}
	}
	if in.ProvisionedThroughput != nil {
		if t.OnDemand {
			return wrongf("Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST")
		}
		t.Throughput = in.ProvisionedThroughput.units()
	}
	if in.DeletionProtectionEnabled != nil {
		t.Protected = *in.DeletionProtectionEnabled
	}
	if in.TableClass != nil {
		t.Class = *in.TableClass
	}
	if in.StreamSpecification != nil {
		if err := in.StreamSpecification.apply(t, now); err != nil {
			return err
		}
	}
	if in.GlobalSecondaryIndexUpdates != nil {
		return in.indexes(t)
	}
	return nil
}

// indexes applies the changes of global indexes.
func (in *updateInput) indexes(t *shard.Table) error {
	for _, d := range definitions(in.AttributeDefinitions) {
		at := slices.IndexFunc(t.Attributes, func(a shard.Attribute) bool { return a.Name == d.Name })
		if at < 0 {
			t.Attributes = append(t.Attributes, d)
		} else if t.Attributes[at].Kind != d.Kind {
			return wrongf("Attribute %s is already defined with the type %s", d.Name, t.Attributes[at].Kind)
		}
	}
	created := 0
	for _, u := range *in.GlobalSecondaryIndexUpdates {
		switch {
		case u.Create != nil:
			if created++; created > 1 {
				return &Error{Code: "LimitExceededException", Message: "Subscriber limit exceeded: Only 1 online index can be created or deleted simultaneously per table"}
			}
			var c constraints
			u.Create.check(&c, "globalSecondaryIndexUpdates.1.member.create.")
			if err := c.err(); err != nil {
				return err
			}
			if t.Index(*u.Create.IndexName) != nil {
				return invalidf("Attempting to create an index which already exists")
			}
			if err := u.Create.add(t, false); err != nil {
				return err
			}
			t.Indexes[len(t.Indexes)-1].Backfilling = true
		case u.Update != nil:
			x := t.Index(value(u.Update.IndexName))
			if x == nil {
				return &Error{Code: "ResourceNotFoundException", Message: "Requested resource not found"}
			}
			x.Throughput = u.Update.ProvisionedThroughput.units()
		case u.Delete != nil:
			x := t.Index(value(u.Delete.IndexName))
			if x == nil || x.Local {
				return &Error{Code: "ResourceNotFoundException", Message: "Requested resource not found"}
			}
			gone := x.Name
			t.Indexes = slices.DeleteFunc(t.Indexes, func(x shard.Index) bool { return x.Name == gone })
		default:
			return wrongf("Only one of Create, Update or Delete must be specified in a GlobalSecondaryIndexUpdate")
		}
	}
	global := 0
	for _, x := range t.Indexes {
		if !x.Local {
			global++
		}
	}
	if global > maxGlobal {
		return &Error{Code: "LimitExceededException", Message: "GlobalSecondaryIndex count exceeds the per-table limit of 20"}
	}
	// Attributes that are no longer part of any key are not defined any more.
	used := usedKeys(t)
	t.Attributes = slices.DeleteFunc(t.Attributes, func(a shard.Attribute) bool { return !slices.Contains(used, a) })
	return nil
}

// ttlInput is the parameter of UpdateTimeToLive.
type ttlInput struct {
	TableName               *string
	TimeToLiveSpecification *struct {
		AttributeName *string
		Enabled       *bool
	}
}

func (a *API) updateTimeToLive(ctx context.Context, r *wire.Reader, out []byte) ([]byte, error) {
	var in ttlInput
	if err := decodeInto(r, &in); err != nil {
		return out, err
	}
	var c constraints
	c.notNull(in.TableName != nil, "tableName")
	spec := in.TimeToLiveSpecification
	c.notNull(spec != nil, "timeToLiveSpecification")
	if spec != nil {
		c.notNull(spec.AttributeName != nil, "timeToLiveSpecification.attributeName")
		c.notNull(spec.Enabled != nil, "timeToLiveSpecification.enabled")
		if n := len(value(spec.AttributeName)); spec.AttributeName != nil && (n < 1 || n > 255) {
			word := "Member must have length less than or equal to 255"
			if n < 1 {
				word = "Member must have length greater than or equal to 1"
			}
			c.add(quoted(*spec.AttributeName), "timeToLiveSpecification.attributeName", word)
		}
	}
	if err := c.err(); err != nil {
		return out, err
	}
	name, err := checkName(in.TableName)
	if err != nil {
		return out, err
	}
	_, err = a.change(ctx, name, func(t *shard.Table) error {
		switch {
		case *spec.Enabled && t.TTL != "":
			return invalidf("TimeToLive is already enabled")
		case !*spec.Enabled && t.TTL == "":
			return invalidf("TimeToLive is already disabled")
		case !*spec.Enabled && t.TTL != *spec.AttributeName:
			return invalidf("TimeToLive is active on a different AttributeName: current AttributeName is %s", t.TTL)
		case *spec.Enabled:
			t.TTL, t.Expiring = *spec.AttributeName, false
		default:
			t.TTL, t.Expiring = "", false
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	out = wire.AppendString(append(out, `{"TimeToLiveSpecification":{"AttributeName":`...), *spec.AttributeName)
	if *spec.Enabled {
		return append(out, `,"Enabled":true}}`...), nil
	}
	return append(out, `,"Enabled":false}}`...), nil
}

func (a *API) describeTimeToLive(_ context.Context, r *wire.Reader, out []byte) ([]byte, error) {
	name, err := named(r)
	if err != nil {
		return out, err
	}
	t := a.store.Table(name)
	if t == nil {
		return out, noTable(name)
	}
	if t.TTL == "" {
		return append(out, `{"TimeToLiveDescription":{"TimeToLiveStatus":"DISABLED"}}`...), nil
	}
	status := "ENABLED"
	if !t.Expiring {
		status = "ENABLING"
	}
	out = wire.AppendString(append(out, `{"TimeToLiveDescription":{"AttributeName":`...), t.TTL)
	out = wire.AppendString(append(out, `,"TimeToLiveStatus":`...), status)
	return append(out, `}}`...), nil
}
