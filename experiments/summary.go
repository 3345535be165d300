package experiments

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
)

// Summarize turns the runs of several seeds into one JSON object. One run is itself. Of several, seed is the list and
// every other number becomes {"mean", "std" (n-1), "values"}, or null where any of them is; texts that agree stay.
func Summarize[T any](runs []T) (map[string]any, error) {
	if len(runs) == 0 {
		return nil, errors.New("there are no records to summarize")
	}
	objects := make([]map[string]any, len(runs))
	for i, r := range runs {
		text, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber() // seeds are 64-bit integers
		if err := d.Decode(&objects[i]); err != nil {
			return nil, err
		}
	}
	if len(objects) == 1 {
		return objects[0], nil
	}
	return join(objects)
}

func join(objects []map[string]any) (map[string]any, error) {
	out := make(map[string]any)
	for _, key := range sortedKeys(objects[0]) {
		values := make([]any, len(objects))
		for i, o := range objects {
			values[i] = o[key]
		}
		var err error
		if key == "seed" {
			out[key] = values
		} else if out[key], err = joinValues(values); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
	}
	return out, nil
}

func joinValues(values []any) (any, error) {
	numbers := make([]float64, len(values))
	objects := make([]map[string]any, len(values))
	same := true
	for i, v := range values {
		switch v := v.(type) {
		case nil:
			return nil, nil
		case json.Number:
			f, err := v.Float64()
			if err != nil {
				return nil, err
			}
			numbers[i] = f
		case map[string]any:
			objects[i] = v
		default:
			same = same && reflect.DeepEqual(v, values[0])
		}
	}
	switch values[0].(type) {
	case json.Number:
		mean, std := MeanStd(numbers)
		return map[string]any{"mean": mean, "std": std, "values": numbers}, nil
	case map[string]any:
		return join(objects)
	}
	if same {
		return values[0], nil
	}
	return values, nil
}
