package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// asHoldfast makes this test binary be holdfast, so that tests start real
// processes of the code under test, children of dev among them, whose
// executable is this one too. (HOLDFAST_ variables do not reach those.)
const asHoldfast = "TEST_BINARY_AS_HOLDFAST"

var update = flag.Bool("update", false, "write what is printed into testdata instead of comparing it")

func TestMain(m *testing.M) {
	if os.Getenv(asHoldfast) != "" {
		main()
	}
	os.Exit(m.Run())
}

// result is what one command line printed.
type result struct {
	code           int
	stdout, stderr string
}

func holdfast(t *testing.T, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, strings.NewReader(""), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// golden compares text with a file in testdata.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "go test -update writes it")
	require.Equal(t, string(want), text)
}

func TestRunEndsCleanlyWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr bytes.Buffer
	code := run(ctx, []string{"drain", "-admin", "127.0.0.1:1"}, strings.NewReader(""), &stdout, &stderr)
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr.String(), "context canceled")
}
