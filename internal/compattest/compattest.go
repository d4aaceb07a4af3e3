// Package compattest holds what members write against what released versions
// have written. testdata/compat has a folder for each release, and in it a file
// for each kind of thing: a line for each example, with its name, its bytes and
// what they say.
//
//	a plain one | 00a1… | alice: cart=3
//
// Each kind is tested where it is written and read. Before a release
//
//	go test ./session ./internal/{member,ownership,dispatch,peer} -run OfReleases -compat v0.3.0
//
// writes the files of that release. They are never changed after it.
package compattest

import (
	"encoding/hex"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var release = flag.String("compat", "", "write what this build writes as that of a release, such as v0.3.0")

// folder is testdata/compat.
func folder() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "testdata", "compat")
}

// Run has read take all examples of a kind that releases have written, and those
// that this build writes, by name. read returns what bytes say, on one line.
func Run(t *testing.T, kind string, written map[string][]byte, read func(b []byte) (string, error)) {
	t.Helper()
	var own strings.Builder
	for _, name := range slices.Sorted(maps.Keys(written)) {
		said, err := read(written[name])
		require.NoError(t, err, "%s of this build", name)
		require.NotContains(t, said, "\n")
		fmt.Fprintf(&own, "%s | %x | %s\n", name, written[name], said)
	}
	if *release != "" {
		dir := filepath.Join(folder(), *release)
		require.NoError(t, os.MkdirAll(dir, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, kind+".txt"), []byte(own.String()), 0o644))
	}
	files, err := filepath.Glob(filepath.Join(folder(), "*", kind+".txt"))
	require.NoError(t, err)
	require.NotEmpty(t, files, "no release has written this kind: see the comment of the package")
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			parts := strings.SplitN(strings.TrimSuffix(line, "\n"), " | ", 3)
			require.Len(t, parts, 3, "%s: %s", file, line)
			b, err := hex.DecodeString(parts[1])
			require.NoError(t, err)
			said, err := read(b)
			require.NoError(t, err, "%s: %s", file, parts[0])
			require.Equal(t, parts[2], said, "%s: %s", file, parts[0])
		}
	}
}
