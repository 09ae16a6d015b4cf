"""Wrong labels of several kinds planted in sets of your choice: what does each way of looking find?"""
