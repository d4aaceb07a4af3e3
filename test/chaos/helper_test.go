package main

import (
	"os"
	"testing"
)

// helperEnv has the test binary do something else than test.
const helperEnv = "HOLDFAST_CHAOS_HELPER"

func TestMain(m *testing.M) {
	switch os.Getenv(helperEnv) {
	case "":
		os.Exit(m.Run())
	case "receive":
		helpReceive()
	case "send":
		helpSend()
	}
}
