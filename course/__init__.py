"""The course's lessons: what each must give (``lessons.yaml``) and how it is measured."""
