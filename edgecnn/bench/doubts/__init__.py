"""The verdict: `evidence.py` is what it rests on, `verdict.py` asks the other files for their doubts, one subject each."""
