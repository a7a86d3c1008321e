package dynamo

import (
	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/shard"
)

// keyAttributes of a key, without those that are not there.
func keyAttributes(k shard.Key) []shard.Attribute {
	if k.Range.Kind == attr.None {
		return []shard.Attribute{k.Hash}
	}
	return []shard.Attribute{k.Hash, k.Range}
}

// checkKey checks the Key of a request.
func checkKey(t *shard.Table, key attr.Item) error {
	want := keyAttributes(t.Key)
	if len(key) != len(want) {
		return invalidf("The provided key element does not match the schema")
	}
	for _, a := range want {
		if key.Get(a.Name).Kind != a.Kind {
			return invalidf("The provided key element does not match the schema")
		}
	}
	return checkKeySizes(t, key)
}

func checkKeySizes(t *shard.Table, it attr.Item) error {
	for i, a := range keyAttributes(t.Key) {
		v := it.Get(a.Name)
		switch {
		case v.Text == "" && a.Kind == attr.String:
			return invalidf("One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty string value. Key: %s", a.Name)
		case v.Text == "":
			return invalidf("One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty binary value. Key: %s", a.Name)
		case i == 0 && len(v.Text) > 2048:
			return wrongf("Size of hashkey has exceeded the maximum size limit of2048 bytes")
		case i == 1 && len(v.Text) > 1024:
			return wrongf("Aggregated size of all range keys has exceeded the size limit of 1024 bytes")
		}
	}
	return nil
}

// checkItem checks the Item of a request.
func checkItem(t *shard.Table, it attr.Item) error {
	for _, a := range keyAttributes(t.Key) {
		switch v := it.Get(a.Name); {
		case v.Kind == attr.None:
			return wrongf("Missing the key %s in the item", a.Name)
		case v.Kind != a.Kind:
			return wrongf("Type mismatch for key %s expected: %s actual: %s", a.Name, a.Kind, v.Kind)
		}
	}
	if err := checkKeySizes(t, it); err != nil {
		return err
	}
	if msg := t.CheckIndexKeys(it); msg != "" {
		return invalidf("%s", msg)
	}
	if it.Size() > attr.MaxItemSize {
		return invalidf("Item size has exceeded the maximum allowed size")
	}
	return nil
}
