"""The learner's part of the course: one exercise per lesson, and the checks of what was written.

``stepNN_name.py`` is one exercise. The learner's file is made from it: what stands between
``# BEGIN SOLUTION`` and ``# END SOLUTION`` becomes a hole, what stands between
``# BEGIN HIDDEN TESTS`` and ``# END HIDDEN TESTS`` is left out (both are nbgrader's markers). The
hidden part has

- ``HINTS``: two or three sentences, each saying more than the one before;
- ``ABOUT``: for each hint the name of the function that it is about, or of several, where the
  exercise has more than one;
- ``MISTAKES``: for a function's name, what is usually done wrong, as a sentence and a function that
  does just that, so that a learner whose result it is reads the sentence;
- ``check(mine)``: calls the learner's functions through an
  :class:`~course.exercises.attempt.Attempt`, on random inputs seeded before.
"""
