from textstat.backend import counts as counts
from textstat.backend import metrics as metrics
from textstat.backend import selections as selections
