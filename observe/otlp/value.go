package otlp

import (
	"encoding/base64"
	"encoding/json"
	"strconv"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
)

const (
	maxAttributes = 256
	maxNesting    = 20
)

// Text is a value as text: a string as it is, lists and maps as JSON.
func Text(whole *commonpb.AnyValue) string {
	switch v := whole.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return v.StringValue
	case *commonpb.AnyValue_BoolValue:
		return strconv.FormatBool(v.BoolValue)
	case *commonpb.AnyValue_IntValue:
		return strconv.FormatInt(v.IntValue, 10)
	case *commonpb.AnyValue_DoubleValue:
		return strconv.FormatFloat(v.DoubleValue, 'g', -1, 64)
	case *commonpb.AnyValue_BytesValue:
		return base64.StdEncoding.EncodeToString(v.BytesValue)
	case nil:
		return ""
	}
	data, err := json.Marshal(plain(whole, 0))
	if err != nil {
		return ""
	}
	return string(data)
}

// plain is a value as encoding/json writes it.
func plain(v *commonpb.AnyValue, depth int) any {
	if depth > maxNesting {
		return nil
	}
	switch v := v.GetValue().(type) {
	case *commonpb.AnyValue_IntValue:
		return v.IntValue
	case *commonpb.AnyValue_BoolValue:
		return v.BoolValue
	case *commonpb.AnyValue_ArrayValue:
		list := make([]any, 0, len(v.ArrayValue.GetValues()))
		for _, e := range v.ArrayValue.GetValues() {
			list = append(list, plain(e, depth+1))
		}
		return list
	case *commonpb.AnyValue_KvlistValue:
		m := map[string]any{}
		for _, e := range v.KvlistValue.GetValues() {
			m[e.GetKey()] = plain(e.GetValue(), depth+1)
		}
		return m
	case nil:
		return nil
	}
	return Text(v)
}

// Attributes gives each attribute's name and text to each, up to a bound; it returns how many there are beyond that.
func Attributes(list []*commonpb.KeyValue, each func(name, value string)) int {
	for i, kv := range list {
		if i == maxAttributes {
			return len(list) - i
		}
		if kv.GetKey() != "" {
			each(kv.GetKey(), Text(kv.GetValue()))
		}
	}
	return 0
}
