package session

import (
	"encoding/json"
	"fmt"
	"strings"
)

// patched returns the fields that a patch of rec, which may be nil, sets and
// removes. Only a nested patch has to look at rec for that.
func (op *Op) patched(rec *Record) ([]Field, error) {
	if !op.Nested {
		return op.Fields, nil
	}
	out := make([]Field, len(op.Fields))
	var cur cursor // over rec's fields, side by side with op's, both in order
	if rec != nil {
		cur = cursor{body: rec.body, base: rec.base}
	}
	cur.next()
	for i, f := range op.Fields {
		if i%stopEvery == stopEvery-1 && op.ctx != nil && op.ctx.Err() != nil {
			return nil, fmt.Errorf("patch: %w", op.ctx.Err())
		}
		if !f.Absent && !Reserved(f.Name) {
			for cur.ok && cur.field.Name < f.Name {
				cur.next()
			}
			var target string
			if cur.ok && cur.field.Name == f.Name {
				target = cur.field.Value // "" of a removed one
			}
			value, err := mergePatch(target, f.Value)
			if err != nil {
				return nil, fmt.Errorf("patch: %w", err)
			}
			f.Value, f.Absent = value, value == "null"
		}
		out[i] = f
	}
	return out, nil
}

// mergePatch returns target after the JSON merge patch patch, by RFC 7396. A
// target that is no JSON object, or none at all, counts as an empty one. What
// the patch does not name keeps its bytes, so no digit of a number is lost, and
// its place.
func mergePatch(target, patch string) (string, error) {
	if !json.Valid([]byte(patch)) { // which also bounds the depth, to 10,000
		return "", fmt.Errorf("%w field value: not JSON", ErrMalformed)
	}
	p, _ := parseJSON(patch)
	if !p.object {
		return p.raw, nil
	}
	var t value
	if strings.HasPrefix(strings.TrimLeft(target, jsonSpace), "{") && json.Valid([]byte(target)) {
		t, _ = parseJSON(target)
	}
	var b strings.Builder
	b.Grow(len(target) + len(patch))
	merged := t.merge(p)
	merged.write(&b)
	return b.String(), nil
}

// value is a JSON value: an object with its members, or the bytes of any other.
type value struct {
	raw     string
	object  bool
	members []member       // each name once
	index   map[string]int // of members by name
}

type member struct {
	name   string // decoded
	quoted string // as it was written
	value  value  // the zero value if it was removed
}

func (v *value) removed() bool { return !v.object && v.raw == "" }
func (v *value) null() bool    { return !v.object && v.raw == "null" }

// set gives a member its value: of two with one name, the last counts.
func (v *value) set(m member) {
	if i, ok := v.index[m.name]; ok {
		v.members[i].value = m.value
		return
	}
	if v.index == nil {
		v.index = make(map[string]int)
	}
	v.index[m.name] = len(v.members)
	v.members = append(v.members, m)
}

// get returns a member's value, the zero value if there is none.
func (v *value) get(name string) (old value) {
	if i, ok := v.index[name]; ok {
		old = v.members[i].value
	}
	return old
}

// merge is MergePatch of RFC 7396, section 2, for a patch that is an object. It
// may change v.
func (v value) merge(patch value) value {
	if !v.object {
		v = value{object: true}
	}
	for _, m := range patch.members {
		switch old := v.get(m.name); {
		case m.value.object:
			m.value = old.merge(m.value)
			v.set(m)
		case !m.value.null():
			v.set(m)
		case !old.removed():
			v.members[v.index[m.name]].value = value{}
		}
	}
	return v
}

func (v *value) write(b *strings.Builder) {
	if !v.object {
		b.WriteString(v.raw)
		return
	}
	sep := byte('{')
	for i := range v.members {
		m := &v.members[i]
		if m.value.removed() {
			continue
		}
		b.WriteByte(sep)
		b.WriteString(m.quoted)
		b.WriteByte(':')
		m.value.write(b)
		sep = ','
	}
	if sep == '{' {
		b.WriteByte('{')
	}
	b.WriteByte('}')
}

const jsonSpace = " \t\r\n"

// parseJSON reads the value that s, which is valid JSON, begins with and
// returns what follows it. It goes once over s, whatever the depth.
func parseJSON(s string) (v value, rest string) {
	s = strings.TrimLeft(s, jsonSpace)
	if s[0] != '{' {
		n := lengthJSON(s)
		return value{raw: s[:n]}, strings.TrimLeft(s[n:], jsonSpace)
	}
	v.object = true
	for s = strings.TrimLeft(s[1:], jsonSpace); s[0] != '}'; {
		n := lengthJSON(s)
		m := member{quoted: s[:n], name: unquote(s[:n])}
		s = strings.TrimLeft(s[n:], jsonSpace)
		m.value, s = parseJSON(s[1:]) // after the colon
		v.set(m)
		if s[0] == ',' {
			s = strings.TrimLeft(s[1:], jsonSpace)
		}
	}
	return v, strings.TrimLeft(s[1:], jsonSpace)
}

// lengthJSON is the length of the string, number, literal or array that s
// begins with.
func lengthJSON(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			for i++; s[i] != '"'; i++ {
				if s[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '[', '{':
			depth++
		case ']', '}':
			if depth == 0 { // the end of the object that holds this scalar
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
	}
	return len(s)
}

// unquote decodes a JSON string.
func unquote(quoted string) string {
	if !strings.Contains(quoted, `\`) {
		return quoted[1 : len(quoted)-1]
	}
	var s string
	if json.Unmarshal([]byte(quoted), &s) != nil {
		return quoted
	}
	return s
}
